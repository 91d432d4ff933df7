/* Exports as kbuild leaves them after module.lds, of a module that was stripped
 * of every symbol that nothing refers to: __ksymtab_NAME and __crc_NAME. */
.macro export table, name, ns
	.section __ksymtab_strings,"aMS",@progbits,1
	.Lname_\name: .asciz "\name"
	.Lns_\name: .asciz "\ns"
	.section __ksymtab\table,"a"
	__ksymtab_\name: .long \name - ., .Lname_\name - ., .Lns_\name - .
.endm
.text
free: other: only: ret
	export "", free, ""
	export "", other, ""
	export _gpl, only, STRIPPED
.section __kcrctab,"a"
	__crc_free: .long 0x11111111
	.long __crc_other /* as until 5.18 */
.section __kcrctab_gpl,"a"
	__crc_only: .long 0x33333333
.globl __crc_other
.set __crc_other, 0x22222222
.section .modinfo,"a"
	.asciz "license=GPL"
