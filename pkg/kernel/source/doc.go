// Package source finds the source that a kernel was built from, and checks out
// what a module build needs of it.
//
// A release such as 4.7.3-coreos-r2 does not name its source; it suggests a
// few refs that a repository may hold it under ([Candidates]). Places to get
// it from form a ladder: the tree that the host itself has for building modules,
// the tree that an earlier run left in the share, then the first of those refs
// that exists in the distribution's repository. Each rung says why it was passed
// over, and the [Tree] records which one served. A folder, a repository or a
// tarball of the user's own takes the ladder's place.
//
// A ref is looked up with GitHub's API, or where that does not answer with
// git's own protocol, and is fetched as the object that it was then. Which files
// are needed is known to package needs, and how to fetch no more than those to
// package partial. They are checked out beside their destination, and renamed
// into place only when they are whole, their Makefile says the version that
// was asked for, and they are on the disk, so the destination holds a complete
// tree or none, after a power cut as well. A tree that
// turns out to lack a file ([Missing]) is made whole by [Complete].
package source
