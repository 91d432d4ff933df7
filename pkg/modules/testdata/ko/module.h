/* What a kernel's headers and modpost put into a module, without a kernel. */
#define INFO(n, text) \
	static const char info_##n[] __attribute__((section(".modinfo"), used, aligned(1))) = text
#define VERMAGIC "6.1.192-coreos-r1 SMP preempt mod_unload "
#define THIS_MODULE(module) \
	struct { int state; long list[2]; char name[56]; char rest[768]; } __this_module \
		__attribute__((section(".gnu.linkonce.this_module"))) = { .name = module }
/* An export as modpost writes it since 6.4; before, the compiler's label has the same name. */
#define EXPORT(sym) \
	void sym(void) {} \
	static const void *__ksymtab_##sym __attribute__((section("___ksymtab+" #sym), used)) = sym
