package confine

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// What a filter reads of a system call: struct seccomp_data of
// include/uapi/linux/seccomp.h.
const (
	offsetNumber = 0
	offsetArch   = 4
	offsetArgs   = 16 // each of 8 bytes, the low half first
)

// x32Bit is in the numbers of amd64's third set of system calls.
const x32Bit = 0x40000000

// namespaces are clone's flags for new ones. (CLONE_NEWTIME is not clone's.)
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
	unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET

// refused are the system calls that no build makes and that reach beyond the
// process and its files; they fail with EPERM. All but a few also want
// capabilities that a command does not have.
var refused = append([]int{
	// Other places, and other privileges.
	unix.SYS_MOUNT, unix.SYS_UMOUNT2, unix.SYS_PIVOT_ROOT, unix.SYS_CHROOT, unix.SYS_UNSHARE, unix.SYS_SETNS,
	unix.SYS_FSOPEN, unix.SYS_FSCONFIG, unix.SYS_FSMOUNT, unix.SYS_FSPICK, unix.SYS_OPEN_TREE, unix.SYS_MOVE_MOUNT,
	unix.SYS_MOUNT_SETATTR, unix.SYS_OPEN_BY_HANDLE_AT,
	// Other processes.
	unix.SYS_PTRACE, unix.SYS_PROCESS_VM_READV, unix.SYS_PROCESS_VM_WRITEV, unix.SYS_PROCESS_MADVISE,
	unix.SYS_PIDFD_GETFD, unix.SYS_KCMP, unix.SYS_PERF_EVENT_OPEN,
	// The kernel's keys, its modules and itself.
	unix.SYS_ADD_KEY, unix.SYS_REQUEST_KEY, unix.SYS_KEYCTL,
	unix.SYS_INIT_MODULE, unix.SYS_FINIT_MODULE, unix.SYS_DELETE_MODULE, unix.SYS_KEXEC_LOAD, unix.SYS_KEXEC_FILE_LOAD,
	unix.SYS_BPF, unix.SYS_USERFAULTFD, unix.SYS_IO_URING_SETUP, unix.SYS_IO_URING_ENTER, unix.SYS_IO_URING_REGISTER,
	unix.SYS_REBOOT, unix.SYS_SWAPON, unix.SYS_SWAPOFF, unix.SYS_ACCT, unix.SYS_QUOTACTL, unix.SYS_SYSLOG,
	unix.SYS_SETTIMEOFDAY, unix.SYS_CLOCK_SETTIME, unix.SYS_ADJTIMEX, unix.SYS_CLOCK_ADJTIME,
	unix.SYS_SETHOSTNAME, unix.SYS_SETDOMAINNAME, unix.SYS_VHANGUP, unix.SYS_FANOTIFY_INIT, unix.SYS_LOOKUP_DCOOKIE,
	// Others on this machine and beyond it: no build asks any.
	unix.SYS_SOCKET, unix.SYS_CONNECT, unix.SYS_BIND, unix.SYS_LISTEN, unix.SYS_ACCEPT, unix.SYS_ACCEPT4,
}, refusedHere...)

// pretended are those that want root's privileges of a program that believes to
// be root: they succeed and do nothing.
var pretended = append([]int{
	unix.SYS_FCHOWN, unix.SYS_FCHOWNAT,
	unix.SYS_SETUID, unix.SYS_SETGID, unix.SYS_SETREUID, unix.SYS_SETREGID, unix.SYS_SETRESUID, unix.SYS_SETRESGID,
	unix.SYS_SETFSUID, unix.SYS_SETFSGID, unix.SYS_SETGROUPS,
}, pretendedHere...)

// ids are those that ask who the program is; the answer 0 is root.
var ids = []int{unix.SYS_GETUID, unix.SYS_GETEUID, unix.SYS_GETGID, unix.SYS_GETEGID}

// filter is the program that the kernel runs before each system call; see
// seccomp(2). Root has those that ask for it told that they are root, where no
// user namespace does that.
func filter(root bool) []unix.SockFilter {
	var p program
	p.load(offsetArch)
	// Those of other architectures (32 bits) have other numbers.
	p.ifNot(auditArch, answer(unix.ENOSYS))
	p.load(offsetNumber)
	p.ifAtLeast(x32Bit, answer(unix.ENOSYS))
	// Its flags are in memory, which can change after a look at them; the C
	// library then takes clone.
	p.if_(unix.SYS_CLONE3, answer(unix.ENOSYS))
	for _, number := range refused {
		p.if_(uint32(number), answer(unix.EPERM))
	}
	for _, number := range pretended {
		p.if_(uint32(number), answer(0))
	}
	if root {
		for _, number := range ids {
			p.if_(uint32(number), answer(0))
		}
	}
	p.onArgument(unix.SYS_CLONE, 0, func() { p.ifAny(namespaces, answer(unix.EPERM)) })
	p.onArgument(unix.SYS_SOCKETPAIR, 0, func() { p.ifNot(unix.AF_UNIX, answer(unix.EPERM)) })
	// A FIFO is anybody's to make, and make's jobs take turns by one.
	for number, argument := range makesNodes {
		p.onArgument(uint32(number), argument, func() {
			p.and(unix.S_IFMT)
			p.if_(unix.S_IFCHR, answer(0))
			p.if_(unix.S_IFBLK, answer(0))
		})
	}
	// Words that a terminal takes for typed.
	p.onArgument(unix.SYS_IOCTL, 1, func() {
		p.if_(unix.TIOCSTI, answer(unix.EPERM))
		p.if_(unix.TIOCLINUX, answer(unix.EPERM))
	})
	p.ret(unix.SECCOMP_RET_ALLOW)
	return p
}

// answer has a system call return without being made.
func answer(errno unix.Errno) uint32 { return unix.SECCOMP_RET_ERRNO | uint32(errno) }

// program is one of the classic BPF, in order.
type program []unix.SockFilter

func (p *program) add(code uint16, k uint32, yes, no uint8) {
	*p = append(*p, unix.SockFilter{Code: code, Jt: yes, Jf: no, K: k})
}

func (p *program) load(offset uint32) { p.add(unix.BPF_LD|unix.BPF_W|unix.BPF_ABS, offset, 0, 0) }
func (p *program) and(mask uint32)    { p.add(unix.BPF_ALU|unix.BPF_AND|unix.BPF_K, mask, 0, 0) }
func (p *program) ret(action uint32)  { p.add(unix.BPF_RET|unix.BPF_K, action, 0, 0) }

// Each returns an action where what was loaded is so.
func (p *program) if_(k, action uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k, 0, 1)
	p.ret(action)
}

func (p *program) ifNot(k, action uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, k, 1, 0)
	p.ret(action)
}

func (p *program) ifAtLeast(k, action uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JGE|unix.BPF_K, k, 0, 1)
	p.ret(action)
}

func (p *program) ifAny(bits, action uint32) {
	p.add(unix.BPF_JMP|unix.BPF_JSET|unix.BPF_K, bits, 0, 1)
	p.ret(action)
}

// onArgument looks at the low half of an argument of a system call, which it then
// allows where nothing else is said.
func (p *program) onArgument(number uint32, argument int, look func()) {
	p.add(unix.BPF_JMP|unix.BPF_JEQ|unix.BPF_K, number, 0, 0)
	jump := len(*p) - 1
	p.load(offsetArgs + 8*uint32(argument))
	look()
	p.ret(unix.SECCOMP_RET_ALLOW)
	(*p)[jump].Jf = uint8(len(*p) - 1 - jump)
}

// install puts a filter on this thread, for good.
func install(filter []unix.SockFilter) error {
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	return unix.Prctl(unix.PR_SET_SECCOMP, unix.SECCOMP_MODE_FILTER, uintptr(unsafe.Pointer(&program)), 0, 0)
}
