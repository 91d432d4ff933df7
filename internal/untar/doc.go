// Package untar unpacks a tar stream from a stranger into a folder.
//
// Whatever the stream says, nothing is written, linked or followed outside the
// folder: a member that would, or that is no file, folder or link, ends the
// extraction with an [Error]. Ownership and permissions in the stream are not
// taken over but for the right to execute.
package untar
