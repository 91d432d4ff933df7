// Package crcs computes from a kernel's source the checksums that MODVERSIONS gives
// to the symbols which the kernel exports.
//
// Such a checksum is of a symbol's declaration and of all types in it, as the file
// that exports the symbol sees them. The kernel has it in its image, and a module the
// same for each symbol that it imports, from the Module.symvers that it was built
// against. Where that list was made from the kernel's image the two are equal whatever
// the source is. Computed from the source, by its own kbuild and so by its own genksyms
// or gendwarfksyms, they say whether the source is the kernel's, also where the kernel
// has no type information to tell.
package crcs
