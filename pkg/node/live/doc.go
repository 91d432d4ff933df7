// Package live is the kernel that runs: which modules it has, who holds them,
// and how they are put in and taken out.
//
// [Read] tells from a host root what is loaded, and [Users] who has a device of
// the driver open. [Kernel] is finit_module, delete_module and the kernel's log
// behind an interface; [Running] is the real one. [Take] makes a module file into
// one that nobody can change any more, so that what was verified is what is
// loaded, and [Tree] has the modules that came with the kernel. [Firmware] points
// the kernel at a folder of firmware by the name that the host's mount namespace
// has for it, which [HostPath] finds.
package live
