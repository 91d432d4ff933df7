package confine

import (
	"encoding/binary"
	"testing"

	"golang.org/x/sys/unix"
)

// verdict is what a filter answers, by the rules of classic BPF.
func verdict(t *testing.T, filter []unix.SockFilter, arch, number uint32, arguments ...uint64) uint32 {
	t.Helper()
	var data [64]byte
	binary.LittleEndian.PutUint32(data[offsetNumber:], number)
	binary.LittleEndian.PutUint32(data[offsetArch:], arch)
	for n, a := range arguments {
		binary.LittleEndian.PutUint64(data[offsetArgs+8*n:], a)
	}
	var a uint32
	jump := func(yes bool, i unix.SockFilter) int {
		if yes {
			return int(i.Jt)
		}
		return int(i.Jf)
	}
	for pc := 0; pc < len(filter); pc++ {
		switch i := filter[pc]; i.Code {
		case unix.BPF_LD | unix.BPF_W | unix.BPF_ABS:
			a = binary.LittleEndian.Uint32(data[i.K:])
		case unix.BPF_ALU | unix.BPF_AND | unix.BPF_K:
			a &= i.K
		case unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K:
			pc += jump(a == i.K, i)
		case unix.BPF_JMP | unix.BPF_JGE | unix.BPF_K:
			pc += jump(a >= i.K, i)
		case unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K:
			pc += jump(a&i.K != 0, i)
		case unix.BPF_RET | unix.BPF_K:
			return i.K
		default:
			t.Fatalf("instruction %d is %+v", pc, i)
		}
	}
	t.Fatal("the filter does not end")
	return 0
}

func TestFilter(t *testing.T) {
	t.Parallel()
	const allowed = unix.SECCOMP_RET_ALLOW
	eperm, enosys, zero := answer(unix.EPERM), answer(unix.ENOSYS), answer(0)
	for _, test := range []struct {
		name      string
		number    uint32
		arguments []uint64
		want      uint32
	}{
		{"read", unix.SYS_READ, nil, allowed},
		{"execve", unix.SYS_EXECVE, nil, allowed},
		{"personality", unix.SYS_PERSONALITY, []uint64{0x0020000}, allowed},
		{"fork", unix.SYS_CLONE, []uint64{uint64(unix.SIGCHLD)}, allowed},
		{"a thread", unix.SYS_CLONE, []uint64{unix.CLONE_VM | unix.CLONE_THREAD | unix.CLONE_SIGHAND}, allowed},
		{"a namespace", unix.SYS_CLONE, []uint64{unix.CLONE_NEWUSER | uint64(unix.SIGCHLD)}, eperm},
		{"a network", unix.SYS_CLONE, []uint64{unix.CLONE_NEWNET}, eperm},
		{"clone3", unix.SYS_CLONE3, nil, enosys},
		{"unshare", unix.SYS_UNSHARE, nil, eperm},
		{"a socket", unix.SYS_SOCKET, []uint64{unix.AF_UNIX}, eperm},
		{"a pair of sockets", unix.SYS_SOCKETPAIR, []uint64{unix.AF_UNIX}, allowed},
		{"a pair of others", unix.SYS_SOCKETPAIR, []uint64{unix.AF_TIPC}, eperm},
		{"a FIFO", unix.SYS_MKNODAT, []uint64{0, 0, unix.S_IFIFO | 0o600}, allowed},
		{"a file", unix.SYS_MKNODAT, []uint64{0, 0, 0o600}, allowed},
		{"a disk", unix.SYS_MKNODAT, []uint64{0, 0, unix.S_IFBLK | 0o600}, zero},
		{"a device", unix.SYS_MKNODAT, []uint64{0, 0, unix.S_IFCHR | 0o600}, zero},
		{"another owner", unix.SYS_FCHOWNAT, nil, zero},
		{"another user", unix.SYS_SETRESUID, nil, zero},
		{"typing", unix.SYS_IOCTL, []uint64{0, unix.TIOCSTI}, eperm},
		// What the kernel compares is 32 bits.
		{"typing, with a high half", unix.SYS_IOCTL, []uint64{0, 1<<32 | unix.TIOCSTI}, eperm},
		{"the terminal's size", unix.SYS_IOCTL, []uint64{0, unix.TIOCGWINSZ}, allowed},
		{"io_uring", unix.SYS_IO_URING_SETUP, nil, eperm},
		{"a module", unix.SYS_FINIT_MODULE, nil, eperm},
	} {
		for _, root := range []bool{false, true} {
			if got := verdict(t, filter(root), auditArch, test.number, test.arguments...); got != test.want {
				t.Errorf("%s: %#x, want %#x", test.name, got, test.want)
			}
		}
		for _, arch := range []uint32{unix.AUDIT_ARCH_I386, unix.AUDIT_ARCH_ARM} {
			if got := verdict(t, filter(false), arch, test.number, test.arguments...); got != enosys {
				t.Errorf("%s of architecture %#x: %#x", test.name, arch, got)
			}
		}
		if got := verdict(t, filter(false), auditArch, test.number|x32Bit, test.arguments...); got != enosys {
			t.Errorf("%s of x32: %#x", test.name, got)
		}
	}
	for _, number := range ids {
		if got := verdict(t, filter(true), auditArch, uint32(number)); got != zero {
			t.Errorf("for root, %d: %#x", number, got)
		}
		if got := verdict(t, filter(false), auditArch, uint32(number)); got != allowed {
			t.Errorf("in a user namespace, %d: %#x", number, got)
		}
	}
	if n := len(filter(true)); n > 4096 {
		t.Errorf("%d instructions are more than the kernel takes", n)
	}
}
