/* Exports as kbuild leaves them since 7.1: one table, and a byte of flags an
 * entry. The table for GPL-only exports of before is not read any more. */
.macro export table, name, ns
	.section __ksymtab_strings,"aMS",@progbits,1
	.Lname_\name: .asciz "\name"
	.Lns_\name: .asciz "\ns"
	.section __ksymtab\table,"a"
	__ksymtab_\name: .long \name - ., .Lname_\name - ., .Lns_\name - .
.endm
.text
free: obsolete: only: other: ret
	export "", free, ""
	export "", only, "module:flags-*"
	export "", other, ""
	export _gpl, obsolete, ""
.section __kflagstab,"a"
	__flags_free: .byte 0
	__flags_only: .byte 1
	__flags_other: .byte 0xfe
.section .modinfo,"a"
	.asciz "license=GPL"
