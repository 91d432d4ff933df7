// Package cdi writes the Container Device Interface specification by which
// Docker, containerd, CRI-O and Podman give a container GPUs without NVIDIA's
// container toolkit: `docker run --device nvidia.com/gpu=all`.
//
// [Spec] makes it of the driver's device files and of its user-space side,
// [Write] leaves it where runtimes look, and [Remove] takes it away.
//
// # How a program finds libcuda
//
// NVIDIA's toolkit has the runtime call a hook, a program of the host's that
// runs ldconfig in the container. That needs a program on the host that root
// runs for each container; ours would have to lie in the share, which belongs to
// a user and may be NFS. LD_LIBRARY_PATH is no way either: CDI can only replace
// it, and images set their own. So each library is mounted as a file, by every
// name that programs look for (libcuda.so.1, libcuda.so), into the folders that
// an image's loader searches by itself, without any cache: those of glibc in
// Debian's and Ubuntu's images (/usr/lib/x86_64-linux-gnu) and in all others
// (/usr/lib64, which is /usr/lib in Arch's). Of the two an image's loader
// searches one, and the other is a folder that nobody looks into. It takes some
// 70 bind mounts, milliseconds, and works in images without ldconfig, of any age,
// with a read-only root, and for any user. Images of musl (Alpine) are not
// served: NVIDIA's libraries need glibc.
//
// Numbers of device files are left out, as the runtime takes them from the
// host's files: they may be others after the next boot.
package cdi
