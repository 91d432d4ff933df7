// Package loading tests `builder load` and `builder unload` where kernels can
// be had: in virtual machines whose only other program is the lab's, and, for
// what a container's own limits refuse, in Docker on the machine's own kernel.
//
// There is no GPU. The modules stand in for NVIDIA's ([lab.Lab.Standins]), and
// so do the PCI bus and the card on it that they drive: all else, from
// finit_module to the firmware loader and the device cgroup, is the kernel's.
package loading
