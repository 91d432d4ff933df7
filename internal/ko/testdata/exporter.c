/* What kbuild of Linux 7.3.4 makes of exports, with MODVERSIONS, GENDWARFKSYMS and
 * EXTENDED_MODVERSIONS in Debian's config, by gcc 14: exporter.ko, without its
 * debugging information (strip -g). It is built by hand, since it wants that tree:
 *
 *	make -C TREE M=$PWD modules KBUILD_MODPOST_WARN=1
 *
 * against a Module.symvers with CRCs of 1, 3, 4 and 0x12345678.
 */
#include <linux/module.h>

void exporter_plain(void);
void exporter_plain(void) { pr_info("plain\n"); }
EXPORT_SYMBOL(exporter_plain);

void exporter_gpl(void);
void exporter_gpl(void) { }
EXPORT_SYMBOL_GPL(exporter_gpl);

void exporter_some(void);
void exporter_some(void) { }
EXPORT_SYMBOL_FOR_MODULES(exporter_some, "kvm,exporter-*");

MODULE_DESCRIPTION("what kbuild of Linux 7.3 makes of exports");
MODULE_LICENSE("GPL");
