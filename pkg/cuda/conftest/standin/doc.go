// Package standin is what a driver's conftest.sh calls in the place of the compiler,
// with the compiler as its first argument.
//
// A test of conftest.sh asks the compiler one of two questions: whether a text of a few
// lines compiles with the kernel's headers, or whether a header is there. The stand-in
// recognizes these, says what is known already, has the compiler say the rest, and
// leaves a note of what that was. All else it hands to the compiler as it is.
//
// It runs where conftest.sh does: confined, for other people's programs, and as their
// user. So a note is worth as much as these are; package conftest decides what becomes
// of it.
//
// Whoever imports this package is the stand-in when it is called by [Word], before
// anything of its own runs: each test is a process of its own, and builder's other
// packages would take longer to begin than the stand-in to answer.
package standin
