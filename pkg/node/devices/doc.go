// Package devices makes the device files of NVIDIA's driver, which the kernel
// and udev leave to user space: /dev/nvidia0, /dev/nvidiactl, /dev/nvidia-uvm
// and the others, as nvidia-modprobe makes them.
//
// [Plan] reads from a host's proc and sys which there are to be, with what
// numbers, modes and owners; [Make] makes them in a folder that is a /dev, be
// it this container's or a mounted host's, [Check] says whether programs can
// use them, and [Remove] takes back what Make made. The folder may be somebody
// else's: no link in it is followed, and whatever is there that is no device
// is left alone.
//
// What is made when, and how it is called, is from NVIDIA's nvidia-modprobe
// (modprobe-utils/nvidia-modprobe-utils.c); what the driver says of itself in
// /proc, from its open kernel modules (nv-procfs.c, nv-caps.c).
package devices
