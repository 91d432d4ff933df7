// Package patch applies a user's patches to the sources of a driver package, or of a
// kernel: unified diffs, read from a folder in the order of their names, as `git diff` and
// `diff -u` write them.
//
// What they are applied to is a copy of a build's own. A hunk has to fit to the letter,
// context included, at its line or elsewhere in its file; there is no fuzz. A patch
// changes, adds and removes plain files in the folders of the sources, and nothing else:
// what names a place outside of those, a link, a mode, or a binary is refused.
package patch
