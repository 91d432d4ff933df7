// Package types holds what modules were compiled with against what a kernel is.
//
// A kernel's loader compares symbols, and with MODVERSIONS a checksum of each
// symbol's type. It does not know which structs a module reads. A kernel built
// with DEBUG_INFO_BTF has all of its types in it, as BTF
// (Documentation/bpf/btf.rst): the layout of each struct and union, the values of
// each enum, the prototype of each function. [Info] is that. A [Record] is the
// same of modules: the kernel's types as the headers gave them to their compiler,
// and how those declared each symbol that the modules import. [Record.Compare]
// says what of it is otherwise in the kernel.
//
// Reading BTF is the work of cilium/ebpf, of which nothing else is used.
package types
