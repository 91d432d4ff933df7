// Package gitpack stores a git pack as it arrives from a server: to disk, with
// the index that git wants beside it, and at once to whoever waits for its
// objects, so that no object need be inflated again. What the format means is
// go-git's business; this package knows what it may cost, and refuses a pack
// that claims or unfolds to more than its limits, or that is not what it says.
//
// A stream that breaks off is no pack. Its whole objects can be saved as one,
// so that a second attempt asks for the rest only ([Options.Salvage]).
package gitpack
