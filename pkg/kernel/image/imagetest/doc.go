// Package imagetest makes small kernel images, for tests of what reads them: an
// ELF file or a flat image of the parts that a reader looks for, in any of the
// layouts that kernels have had.
package imagetest
