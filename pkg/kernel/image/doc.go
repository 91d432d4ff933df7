// Package image reads a kernel image, the file that a boot loader loads, and
// says what it tells of the kernel in it: its release, its configuration, the
// symbols that it exports to modules with class, namespace and CRC, and the
// size of its struct module. So a kernel that nobody has booted can be built
// for.
//
// An image is a wrapper (x86's bzImage, EFI's zboot, a plain .gz) around a
// compressed payload, which is an ELF vmlinux or arm64's flat Image. [Read]
// peels until it finds one of these two. What an image does not say stays
// unknown: it is never guessed.
package image
