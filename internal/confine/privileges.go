package confine

import (
	"fmt"
	"runtime"

	"golang.org/x/sys/unix"
)

// setIDs makes this thread another user's, without further groups. (Go's own
// functions do it to all threads.)
func setIDs(uid, gid int) error {
	if err := setGroup(gid); err != nil {
		return err
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESUID, uintptr(uid), uintptr(uid), uintptr(uid)); errno != 0 {
		return fmt.Errorf("setresuid %d: %w", uid, errno)
	}
	return nil
}

func setGroup(gid int) error {
	// In a user namespace that is not root's, groups cannot be given up.
	if _, _, errno := unix.RawSyscall(unix.SYS_SETGROUPS, 0, 0, 0); errno != 0 && errno != unix.EPERM {
		return fmt.Errorf("setgroups: %w", errno)
	}
	if _, _, errno := unix.RawSyscall(unix.SYS_SETRESGID, uintptr(gid), uintptr(gid), uintptr(gid)); errno != 0 {
		return fmt.Errorf("setresgid %d: %w", gid, errno)
	}
	return nil
}

// securebits are those by which the user 0 is nobody special, for good:
// capabilities(7).
const securebits = 1<<0 | 1<<1 | // SECBIT_NOROOT and its lock
	1<<2 | 1<<3 | // SECBIT_NO_SETUID_FIXUP and its lock
	1<<5 | // SECBIT_KEEP_CAPS_LOCKED
	1<<6 | 1<<7 // SECBIT_NO_CAP_AMBIENT_RAISE and its lock

// renounce gives up for good, of this thread and what it starts, all
// capabilities and every way to gain some. What wants CAP_SETPCAP itself may
// fail: no new privileges are enough.
func renounce(uid, gid int, setThem bool) error {
	_ = unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
	// Until there are no more, or none may be dropped.
	for capability := uintptr(0); unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0) == nil; capability++ {
	}
	_ = unix.Prctl(unix.PR_SET_SECUREBITS, securebits, 0, 0, 0)
	if setThem {
		if err := setIDs(uid, gid); err != nil {
			return err
		}
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var none [2]unix.CapUserData
	if err := unix.Capset(&header, &none[0]); err != nil {
		return fmt.Errorf("capset: %w", err)
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return fmt.Errorf("no_new_privs: %w", err)
	}
	return nil
}

// capable says whether this process has a capability in effect.
func capable(capability int) bool {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	var has [2]unix.CapUserData
	return unix.Capget(&header, &has[0]) == nil && has[capability/32].Effective&(1<<(capability%32)) != 0
}

// worker is a thread that does one thing after the other.
type worker chan func()

// newWorker starts a thread, that begins with a function of its own.
func newWorker(begin func() error) (worker, error) {
	w := make(worker)
	begun := make(chan error)
	go func() {
		runtime.LockOSThread() // for good: it is another user's
		begun <- begin()
		for do := range w {
			do()
		}
	}()
	return w, <-begun
}

func (w worker) do(f func() error) error {
	done := make(chan error)
	w <- func() { done <- f() }
	return <-done
}
