package confine

import "golang.org/x/sys/unix"

// helperName is what the helper is called by, which no shell can do by chance.
const helperName = "builder: confined program"

// The helper's descriptors beside its output.
const (
	controlFD = 3 // its spec, and then what to do
	statusFD  = 4 // what it says
)

// What the helper is told after its spec; the end of the pipe, which a builder
// that dies leaves too, is the same as kill.
const (
	terminate = 'T'
	kill      = 'K'
)

// spec is what the helper is to do.
type spec struct {
	rung
	// UID and GID are those to run as, of the helper's own user namespace where
	// it has one.
	UID, GID int
	// SetIDs says that they are not those that the helper has.
	SetIDs bool
	// Landlock and Seccomp are wanted.
	Landlock, Seccomp bool

	// The command. One without a Path is a try: nothing is run.
	Path          string
	Args, Env     []string
	Dir           string
	Reads, Writes []string
	Files         map[string][]byte
	// Hide are the processes that are not to be seen in a /proc that is not
	// the command's own.
	Hide []int
}

// rung is a way to confine, of those that a container allows or not.
type rung struct {
	User      bool // a user namespace
	Mounts    bool // the other namespaces
	OuterProc bool // the container's /proc is seen, with its processes of now hidden
}

func (r rung) flags() uintptr {
	var flags uintptr
	if r.Mounts {
		flags |= unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWIPC | unix.CLONE_NEWUTS
	}
	if r.User {
		flags |= unix.CLONE_NEWUSER
	}
	return flags
}

func (r rung) String() string {
	switch {
	case r.User && r.OuterProc:
		return "namespaces of a user namespace, with the container's /proc"
	case r.User:
		return "namespaces of a user namespace"
	case r.Mounts:
		return "namespaces of root's"
	}
	return "no namespaces"
}

// status is what the helper says: that it failed, or with what the command was
// started, and then how that ended.
type status struct {
	// Failed is what could not be done; Errno why.
	Failed string     `json:",omitempty"`
	Errno  unix.Errno `json:",omitempty"`
	// NotStarted says that all was done but the command's start.
	NotStarted bool `json:",omitempty"`
	// BadFile says that one of Files could not be put into its place.
	BadFile bool `json:",omitempty"`

	// Started has what is held by.
	Started *held `json:",omitempty"`

	// Ended has the command's end.
	Ended *ended `json:",omitempty"`
}

// held is what could be had beside the rung.
type held struct {
	// Landlock is the kernel's version of it, and 0 with NoLandlock where it
	// has none.
	Landlock   int
	NoLandlock string
	NoSeccomp  string
}

type ended struct{ Code, Signal int }
