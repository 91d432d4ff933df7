// Package probe finds out what modules were compiled with: which types of the
// kernel's, and which declarations of the symbols that they import.
//
// Modules are built without debugging information, which would take a fifth more of
// the time and seventeen times the space, so that nothing of it is left in them. But
// kbuild leaves beside each object which files it was made of (FILE.o.cmd). Of these
// [Headers] learns which of the kernel's headers the modules' sources include, as
// the conditions in them came out. [Types] compiles one unit that includes the same,
// by the same kbuild, compiler, config and generated headers, with every type in its
// debugging information, has pahole make BTF of that, and returns it as a
// [types.Record].
package probe
