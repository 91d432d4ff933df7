// Package partial makes a git repository of one commit of a server's, with
// only those of its files that are wanted, and in a fraction of a clone's time
// and disk.
//
// The commit and its trees are fetched first, without any file's content
// (git's filter blob:none, at depth 1), then, in one request, exactly the
// contents that are wanted; files are written as they arrive. A server that
// knows no filter, or gives no object by its name, is asked for the whole
// commit instead. It needs no more than GitHub allows: filter,
// allowTipSHA1InWant and allowReachableSHA1InWant.
//
// What it leaves is what `git clone --depth 1 --filter=blob:none --sparse`
// leaves, as far as git can tell: `git status` is clean, and what is not
// checked out is had from the remote when git is asked for it. Only the
// extensions that such a clone has in its configuration are not used, because
// go-git refuses to open a repository with them.
//
// Nothing of a repository is believed: see [Checkout].
package partial
