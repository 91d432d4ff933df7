// Package cuda knows NVIDIA's Linux driver packages: it finds the one to use
// among those a user has put down, verifies it, unpacks the part of it that
// kernel modules are built from with their firmware, and drives the package's
// own nvidia-installer to build them.
//
// A package is a folder or a self-extracting file (".run") whose name is
// NVIDIA-Linux-ARCH-VERSION. [Find] chooses one and returns a [Package];
// [Unpack] makes a [Driver] of it, a scratch folder that the build may write
// into; [Build] turns that into modules. Nothing of the user's is ever written
// to, and the shell header of a .run is read, never run. [Inspect] and
// [Members] give package userspace what it lays out for containers.
package cuda
