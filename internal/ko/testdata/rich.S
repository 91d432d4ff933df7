/* A module with each thing that the reader looks for, as kbuild leaves it after
 * module.lds with MODVERSIONS. Remade by `make`, to which it is the source. */
.section .modinfo,"a"
	.asciz "license=GPL"
	.asciz "license=MIT"
	.asciz "import_ns=RICH"
.section .gnu.linkonce.this_module,"aw"
	.skip 64
.section __ksymtab_strings,"aMS",@progbits,1
__kstrtabns_only: .asciz "RICH"
__kstrtabns_free: .asciz ""
.section __ksymtab,"a"
__ksymtab_free: .long 0, 0, 0
__ksymtab_absolute: .long 0, 0, 0
/* Before module.lds an entry has a section of its own. */
.section "___ksymtab+gpl_named","a"
__ksymtab_gpl_named: .long 0, 0, 0
/* Since 7.1 it has one for its flags as well. */
.section "___ksymtab+flagged","a"
__ksymtab_flagged: .long 0, 0, 0
.section "___kflagstab+flagged","a"
__flags_flagged: .byte 1
.section __ksymtab_gpl,"a"
__ksymtab_only: .long 0, 0, 0
.section __kcrctab,"a"
__crc_free: .long 0x11111111
__crc_gpl_named: .long 0x33333333
.section __kcrctab_gpl,"a"
__crc_only: .long 0x22222222
/* Until 5.18 the CRC was the value of a symbol. */
.set __crc_absolute, 0xdeadbeef
/* No entry of a table: */
.data
__ksymtab_decoy: .long 0
.section __versions,"a"
	.quad 0xaaaaaaaa
	.asciz "module_layout"
	.skip 42
	.quad 0xbbbbbbbb
	.asciz "_printk"
	.skip 48
.section __version_ext_crcs,"a"
	.long 0xaaaaaaaa, 0xcccccccc
.section __version_ext_names,"a"
	.asciz "module_layout"
	.asciz "_printk"
.section .debug_info,""
	.quad _printk
.comm counter,4,4
.text
.globl init_module
init_module:
	call _printk
	call optional
	ret
.weak optional
