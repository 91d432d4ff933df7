// Package progress shows how far long work has come: on a terminal as a bar in
// its last line, elsewhere as a line of the log every few seconds.
//
// Whoever works calls [Begin] with its context, counts on the [Task] that it
// gets, and ends it. Where that is shown is the caller's affair: on the [Bar] that
// [Bar.WithContext] put into the context, else by the context's log, and nowhere
// where that says nothing either. No total is made up: what is not known is a
// count and the time that has passed.
package progress
