// Package confine runs other people's programs: kbuild's make on sources that
// somebody else wrote, a package's installer, the tools of a host's tree. They
// see and write what their command names, and get no more of this process than
// its output.
//
// A [Runner] starts this very program again, as a helper that makes a smaller
// world around itself, locks itself into it, and starts the command there. The
// belts, each beside the other ones:
//
//   - the user: that of the share's owner, or nobody's, without a capability,
//     and with no way to any (no new privileges). The command takes itself for
//     root, by a user namespace or by what its system calls answer, since
//     installers insist on that.
//   - the view: a mount namespace whose root is empty but for the system's own
//     folders, read-only, and what the command names, each at its own path,
//     since compilers write paths into what they make. It has a /proc, a /dev,
//     a /tmp of its own, and processes, network and IPC of its own.
//   - Landlock: the same lists, held by the kernel beneath any mount.
//   - seccomp: no sockets, no mounts and namespaces, nothing of the kernel's
//     modules, keys, other processes.
//
// Which of them can be had is the container's to say; [Runner.Report] tells what
// could not. The environment is made anew, and descriptors other than the
// output's are closed.
//
// Whoever imports this package starts as the helper when it is called by the
// helper's name, before anything of its own runs; so do tests.
package confine
