// Package ko reads kernel modules, .ko files, as the kernel's loader does:
// what they say of themselves (.modinfo), the symbols that they need and offer,
// the versions that they were built against and the relocations that they ask
// for. It knows nothing of what a particular kernel would say to them.
//
// The formats are those of the kernel's include/linux/{module,export}.h,
// scripts/mod/modpost.c and kernel/module/main.c.
package ko
