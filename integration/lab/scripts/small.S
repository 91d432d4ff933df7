/* Modules with the names, licences and exports of NVIDIA's, of which they have
 * nothing else. They are made without a kernel's headers: what those would say of
 * struct module is taken from a module that came with the kernel. */
#ifdef nvidia
# define NAME "nvidia"
# define LICENSE "NVIDIA"
# define DEPENDS ""
# define ANSWER -19 /* ENODEV, as where there is no GPU */
#elif defined(uvm)
# define NAME "nvidia_uvm"
# define LICENSE "Dual MIT/GPL"
# define DEPENDS "nvidia"
#elif defined(modeset)
# define NAME "nvidia_modeset"
# define LICENSE "NVIDIA"
# define DEPENDS "nvidia"
#elif defined(peermem)
# define NAME "nvidia_peermem"
# define LICENSE "Linux-OpenIB" /* which no kernel takes for compatible with the GPL */
# define DEPENDS ""
#endif
#ifndef ANSWER
# define ANSWER 0
#endif

.macro export name
	.section __ksymtab_strings,"aMS",@progbits,1
	__kstrtab_\name: .asciz "\name"
	__kstrtabns_\name: .asciz ""
	.section __ksymtab,"a"
	.balign 4
	__ksymtab_\name: .long \name - ., __kstrtab_\name - ., __kstrtabns_\name - .
#ifdef FLAGS
	.section __kflagstab,"a"
	__flags_\name: .byte 0
#endif
	.text
	.globl \name
	\name: ret
.endm

.ident COMPILER
.section .modinfo,"a"
	.asciz "license=" LICENSE
	.asciz "depends=" DEPENDS
	.asciz "name=" NAME
	.asciz "vermagic=" VERMAGIC
.section .gnu.linkonce.this_module,"aw"
.globl __this_module
__this_module:
	.org NAME_AT
	.asciz NAME
	.org INIT_AT
	.quad init_module
	.org EXIT_AT
	.quad cleanup_module
	.org SIZE
.section .rodata.str1.1,"aMS",@progbits,1
	said: .asciz "%s: a small module\n"
	name: .asciz NAME
.text
.globl init_module
init_module:
	endbr64
	sub $8, %rsp
	mov $said, %rdi
	mov $name, %rsi
	xor %eax, %eax
	call _printk
#if defined(uvm)
	call nvUvmInterfaceRegisterGpu
#elif defined(modeset)
	call nvidia_get_rm_ops
#endif
	mov $ANSWER, %eax
	add $8, %rsp
	ret
.globl cleanup_module
cleanup_module:
	endbr64
	ret
/* In the order of their names, by which a kernel finds them. */
#if defined(nvidia)
	export nvUvmInterfaceRegisterGpu
	export nvidia_get_rm_ops
#elif defined(modeset)
	export nvKmsKapiGetFunctionsTable
#endif
