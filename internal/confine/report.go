package confine

import (
	"fmt"
	"strings"
)

// The layers that can be missing, by the names that a [Gap] has.
const (
	UserNamespace = "user namespace"
	Namespaces    = "mount, process and network namespaces"
	OwnProc       = "/proc of its own"
	OwnUser       = "user"
	Landlock      = "Landlock"
	Seccomp       = "seccomp"
)

// Gap is a layer that could not be had.
type Gap struct {
	// Layer is one of the constants.
	Layer string
	// Why is the reason, in a clause.
	Why string
}

// Report says how commands are confined.
type Report struct {
	// UID and GID are those that commands run as outside of their user
	// namespace.
	UID, GID int
	// Isolated says that they have a view of their own: no file, process or
	// network of the container's but what they are given.
	Isolated bool
	// Landlock is the version of the kernel's Landlock ABI, 0 for none.
	Landlock int
	// Gaps are the layers that could not be had, in the order of the constants.
	Gaps []Gap
}

// String names the gaps with their reasons; it is empty where there are none.
func (r Report) String() string {
	var said []string
	for _, g := range r.Gaps {
		said = append(said, fmt.Sprintf("no %s (%s)", g.Layer, g.Why))
	}
	return strings.Join(said, ", ")
}

// Exposed says in a clause what a program can reach that the gaps leave open;
// empty where that is nothing that it was not given.
func (r Report) Exposed() string {
	switch {
	case r.Isolated:
		return ""
	case r.Landlock > 0:
		return fmt.Sprintf("it sees the container's processes, and the names and sizes of what is mounted as far as user %d may", r.UID)
	case r.UID == 0:
		return "it reads and writes all of root's files that the container has mounted"
	}
	return fmt.Sprintf("it reads and writes all that user %d may of what the container has mounted", r.UID)
}
