// Package needs knows which files of a kernel's source are needed to prepare a
// tree and to build a module against it: a fifth of them.
//
// The lists are data, in files beside this one that say how they were derived,
// and written as patterns of git's sparse-checkout: git and this package read
// the same lists.
package needs
