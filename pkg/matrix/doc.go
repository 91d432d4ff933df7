// Package matrix makes the modules of many drivers for many kernels in one run, and a
// table of what came of each.
//
// A [File] names the kernels and the drivers; each pair of them is a [Cell], and a build
// of its own on one share. What a build keeps there is what makes the next one shorter:
// the kernel's source and its prepared tree, for which cells of one kernel follow each
// other, driver packages, and a driver's libraries. A cell that fails stops none of the
// others. Begin with [Read] and [Run]; [Table.WriteHTML] makes a page of the table that
// needs nothing beside it.
package matrix
