#include <linux/module.h>

int exports_first(int a) { return a; }
EXPORT_SYMBOL(exports_first);
int exports_second(long a) { return a != 0; }
EXPORT_SYMBOL(exports_second);
int exports_third;
EXPORT_SYMBOL(exports_third);
int exports_gpl(void) { return 4; }
EXPORT_SYMBOL_GPL(exports_gpl);
#ifdef EXPORT_SYMBOL_NS
int exports_named(void) { return 5; }
EXPORT_SYMBOL_NS(exports_named, EXPORTS);
#endif
MODULE_LICENSE("GPL");
