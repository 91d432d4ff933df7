// Package conftest keeps the answers to a driver's tests of the kernel.
//
// Before it compiles anything, a driver's makefile has its conftest.sh find out what the
// kernel has to offer, by some 375 texts of a few lines that compile or do not, and some
// hundred headers that are there or not. That is half of a build's work, since each
// reads the kernel's headers. The answers are the same for each driver that asks the
// same of the same kernel tree, with the same compiler and flags.
//
// [Makefile] has conftest.sh call a stand-in for the compiler (package standin), which
// says what is known and has the compiler answer the rest. Nothing of the driver is
// changed, and the same is compiled with the same flags. [Answers] are what is known; a
// file has those for one kernel tree.
//
// The stand-in runs among the driver's own programs, which could forge what it notes:
// whoever keeps the answers of a driver for others has to trust that driver's package.
package conftest
