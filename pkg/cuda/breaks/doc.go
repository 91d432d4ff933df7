// Package breaks knows which versions of NVIDIA's driver do not compile against
// which kernels.
//
// The table is data, breaks.json: for each break what of the kernel changed, since
// which version of each of its lines, which versions of the driver are of before
// that, in which form and module of theirs, the first of each branch that builds, by
// which words of the compiler's it is recognised, and who has seen it. Only what was
// compiled, read in the sources or reported in public is in it: a pair of which it
// says nothing was not looked at. [Find] asks it before a build, and [Explain] after
// one that failed.
package breaks
