package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_X86_64

var (
	refusedHere = []int{
		unix.SYS_IOPL, unix.SYS_IOPERM, unix.SYS_MODIFY_LDT, unix.SYS_USELIB, unix.SYS_USTAT, unix.SYS_SYSFS, unix.SYS__SYSCTL,
		unix.SYS_CREATE_MODULE, unix.SYS_GET_KERNEL_SYMS, unix.SYS_QUERY_MODULE, unix.SYS_NFSSERVCTL,
	}
	pretendedHere = []int{unix.SYS_CHOWN, unix.SYS_LCHOWN}
)

// makesNodes are the system calls that make files of any kind, and which of their
// arguments is the kind.
var makesNodes = map[int]int{unix.SYS_MKNOD: 1, unix.SYS_MKNODAT: 2}
