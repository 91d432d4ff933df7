// Package load is the running kernel's side of a driver: which of its modules
// are there, who holds them, and how they are put in and taken out.
//
// [Read] tells what is loaded, from a host root. [Look] finds out, before
// anything is tried, what would be refused in this container and by this
// kernel, and returns every [Finding] with the option that helps; [Refusals] is
// the table of their sentences. [Take] makes a module file into one that nobody
// can change any more, so that what was verified is what is loaded. [Kernel] is
// finit_module, delete_module and the kernel's log behind an interface;
// [Running] is the real one. [Firmware] points the kernel at a folder of
// firmware by the name that the host's mount namespace has for it, which
// [Mounts] finds.
//
// The order of the steps is pkg/job's.
package load
