// Package download fetches one file over HTTP, whole or not at all.
//
// [File] goes on where a connection broke, also one of an earlier run, as long
// as the server has the same file; it tries again what may pass, and bounds
// what a server can do to its caller: how much it sends, how long it may keep
// silent, and, by a digest, what it sends. [Copy] holds a file that is here
// already against the same bounds. Addresses are shown without the credentials
// that they may hold ([Shown]).
package download
