// Package lab makes the real parts that a whole run of the job needs, on a
// machine that has Docker and Go and nothing else: the base images where no
// registry answers, a git repository of a real kernel with a server before it
// that answers as GitHub does, a driver package in NVIDIA's own layout, and
// the roots of hosts: a recorded one, some whose kernels can be booted, and one that
// has the tree for building modules that Flatcar's hosts have.
//
// Boot asks a real kernel. It runs one in QEMU, without KVM, with a program of
// ours as its only process; what to load, run and read is a plan, and what the
// kernel answered to each step comes back:
//
//	host, err := l.Debian(ctx, "trixie")
//	machine := lab.Machine{Kernel: host.Image(), Append: "module.sig_enforce=1"}
//	outcome, err := l.Boot(ctx, machine, plan.Plan{
//		{Load: machine.Install([]string{"/tmp/nvidia.ko"}), Unload: true},
//		{Read: []string{"/proc/modules"}},
//	})
//
// Each part is made once and kept in a cache folder under a name that holds a
// digest of its recipe, so that changing the recipe remakes the part and
// nothing else does. Delete the folder to start afresh. Parts are real where
// they can be: sources, kernel and driver come from Debian's packages, and a
// README beside each part that was edited says what was. Everything that needs
// a program which the machine may lack (git, QEMU, dpkg) runs in a container.
package lab
