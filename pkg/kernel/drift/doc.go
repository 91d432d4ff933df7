// Package drift finds out whether two kernel configs make the same kernel, as
// far as a module can tell.
//
// A config that goes through another machine's kbuild seldom comes out
// unchanged: options that only describe the tools follow the tools. Those are
// of no interest. Any other difference means that headers may lay out a
// structure, or the compiler a function, otherwise than in the kernel that the
// module is for, and nothing at load would notice: it is a [Change].
package drift
