// Package userspace knows the user-space side of NVIDIA's driver: libcuda and
// the other libraries and programs that a container needs besides the kernel
// modules, and of exactly their version.
//
// [Choose] picks them from a driver package by its manifest, [Publish] leaves
// them in SHARE/driver/VERSION, a root folder with usr/lib64, usr/bin and etc
// in it, as NVIDIA's own tools take a --driver-root, and [Find] reads it back
// and believes nothing that it did not digest. [Discover] finds those of a
// driver that somebody else installed on a host. Both give a [Root], from which
// package cdi makes what a container runtime mounts.
//
// What the types of a package's files are and where they go is from NVIDIA's
// nvidia-installer (manifest.c, files.c); which libraries serve to compute,
// from its libnvidia-container (nvc_info.c).
package userspace
