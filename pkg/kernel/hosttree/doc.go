// Package hosttree makes use of the tree that a host has for building modules:
// what lib/modules/RELEASE/build leads to.
//
// Distributions leave one of two things there: a kernel's whole build folder,
// or, split, the folder of generated files, with headers and scripts in another
// that several flavours share. The second finds the first by an absolute path,
// which leads nowhere where the host's root is mounted at another place. So
// [Link] puts links to what is needed under a folder of our own, with that path
// set right; the host's files are read and never written.
//
// Such a tree is the best there is, made by the kernel's own build, or worse
// than none: left over from another build, or with programs that do not run
// here. [Check] tells.
package hosttree
