// Package types has a source that is not the kernel's refused: of Debian's real
// kernels, with their headers altered each in another way, and a driver that was
// compiled there. Where a wrong layout would show at run time it is shown.
package types
