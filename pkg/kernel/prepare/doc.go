// Package prepare turns a kernel's source into a tree that modules build
// against.
//
// A module does not need a built kernel, only what kbuild makes first: the
// configuration as headers, a few host programs, and the release string that
// goes into every module's vermagic. [Prepare] makes these out of tree (kbuild's
// O=), from the host's own config, so the source stays clean; then it adds
// Module.symvers, the list of what the host's kernel exports, which a full
// build would have left behind. It believes none of it: the release must come
// out equal to the host's to the letter, and every option that kbuild changed
// is reported as a [Change].
package prepare
