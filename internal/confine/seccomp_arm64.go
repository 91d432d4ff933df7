package confine

import "golang.org/x/sys/unix"

const auditArch = unix.AUDIT_ARCH_AARCH64

var (
	refusedHere   = []int{unix.SYS_NFSSERVCTL}
	pretendedHere []int
)

// makesNodes are the system calls that make files of any kind, and which of their
// arguments is the kind.
var makesNodes = map[int]int{unix.SYS_MKNODAT: 2}
