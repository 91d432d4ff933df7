// Package source finds and checks out the source that a kernel was built from.
//
// A release such as 4.7.3-coreos-r2 does not name its source; it suggests a
// few refs that a repository may hold it under ([Candidates]). Places to get
// it from form a ladder: the tree that the host itself has for building modules,
// the tree that an earlier run left in the share, then the first of those refs
// that exists in the distribution's repository. Each
// rung says why it was passed over, and the [Tree] records which one served.
//
// A ref is looked up with GitHub's API, or where that does not answer with
// git's own protocol, and checked out at depth 1 beside its destination. It is
// renamed into place only when it is whole and its Makefile says the version
// that was asked for, so the destination holds a complete tree or none.
package source
