package partial

import (
	"fmt"
	"strings"
)

// checkName refuses a name in a git tree that could lead out of the folder it
// is written to, or into its .git: on this file system or, since the tree may
// be on a laptop's disk, on one that folds case, drops characters (HFS+) or
// has short names and streams (NTFS). See git's verify_path. Names that NTFS
// merely reserves are let pass: a kernel has a file aux.c.
func checkName(name string) error {
	switch {
	case name == "" || name == "." || name == "..":
		return fmt.Errorf("a git tree holds the name %q", name)
	case strings.ContainsAny(name, "/\\\x00"):
		return fmt.Errorf("a git tree holds the name %q, which is a path", name)
	case len(name) > maxName:
		return fmt.Errorf("a git tree holds a name of %d bytes", len(name))
	case isGit(name):
		return fmt.Errorf("a git tree holds the name %q, which some file systems take for .git", name)
	}
	return nil
}

// isGit says whether a file system could take the name for .git.
func isGit(name string) bool {
	name = strings.ToLower(strings.Map(visible, name))
	name, _, _ = strings.Cut(name, ":") // NTFS: a stream of the file
	name = strings.TrimRight(name, ". ")
	return name == ".git" || name == "git~1"
}

// visible drops the characters that HFS+ ignores in a name.
func visible(r rune) rune {
	switch {
	case r >= 0x200c && r <= 0x200f, r >= 0x202a && r <= 0x202e, r >= 0x206a && r <= 0x206f, r == 0xfeff:
		return -1
	}
	return r
}
