// Package download fetches one file over HTTP into a writer.
//
// [To] bounds what a server can do to its caller: how much it sends, how long
// it may keep silent, and, by a digest, what it sends. Addresses are shown
// without the credentials that they may hold ([Shown]).
package download
