// Package breaks confirms rows of the table of known breaks (pkg/cuda/breaks) by
// compiling NVIDIA's sources, as Debian packages them, against the headers of Debian's
// kernels. Its tests carry the build tag integration.
package breaks
