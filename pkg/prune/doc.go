// Package prune finds what of a share can be made again, or is of no use any
// more, and removes it where that is asked for. Package share knows what each
// path is; here it is decided what becomes of it. Begin with [Run].
package prune
