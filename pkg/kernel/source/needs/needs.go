package needs

import (
	_ "embed"
	"fmt"
	"path"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

//go:embed common.txt
var common string

//go:embed x86_64.txt
var x8664 string

//go:embed aarch64.txt
var aarch64 string

//go:embed since-6.18.txt
var since618 string

//go:embed before-5.4.txt
var before54 string

//go:embed spare.txt
var spare string

var lists = map[kernel.Arch]string{
	kernel.X86_64:  common + x8664,
	kernel.AArch64: common + aarch64,
}

// List is the files that builds for one architecture and kernel line need.
type List struct {
	patterns []pattern
	spare    []pattern
}

// For returns the list of an architecture and a kernel release.
func For(arch kernel.Arch, release kernel.Release) (*List, error) {
	text, ok := lists[arch]
	if !ok {
		return nil, fmt.Errorf("it is not known which files a build for %q needs", arch)
	}
	if release.AtLeast(6, 18) {
		text += since618
	}
	if arch == kernel.X86_64 && !release.AtLeast(5, 4) {
		text += before54
	}
	return &List{patterns: parse(text), spare: parse(spare)}, nil
}

// Match says whether a file is needed. Its path is relative to the top of the
// tree, with slashes.
func (l *List) Match(name string) bool { return match(l.patterns, name) }

// Spare says whether a build does without the file if it has to: where the
// file system takes it for another.
func (l *List) Spare(name string) bool { return match(l.spare, name) }

// Patterns is the list as a file of git's sparse-checkout, without comments, and with
// further files by their paths.
func (l *List) Patterns(more ...string) string {
	var b strings.Builder
	for _, p := range l.patterns {
		b.WriteString(p.String() + "\n")
	}
	for _, name := range more {
		b.WriteString("/" + name + "\n")
	}
	return b.String()
}

// pattern is one line of a list, in a part of gitignore(5)'s syntax that
// leaves nothing to interpret:
//
//	/*          what is at the top
//	/DIR/       a folder and all that is below it
//	/DIR/FILE   one file
//	NAME*       files anywhere whose names begin so
//	!PATTERN    not
type pattern struct {
	name   string // without what the other fields say
	not    bool
	dir    bool // matches folders only
	prefix bool // ends in *
	root   bool // begins with /
}

func (p pattern) String() string {
	s := p.name
	if p.root {
		s = "/" + s
	}
	if p.not {
		s = "!" + s
	}
	if p.prefix {
		s += "*"
	}
	if p.dir {
		s += "/"
	}
	return s
}

// parse reads a list; lines that begin with # are comments.
func parse(text string) []pattern {
	var all []pattern
	for line := range strings.Lines(text) {
		line = strings.TrimSpace(line)
		if line == "" || line[0] == '#' {
			continue
		}
		var p pattern
		line, p.not = strings.CutPrefix(line, "!")
		line, p.root = strings.CutPrefix(line, "/")
		line, p.dir = strings.CutSuffix(line, "/")
		p.name, p.prefix = strings.CutSuffix(line, "*")
		all = append(all, p)
	}
	return all
}

// match decides as git does: the last pattern that matches the file itself, or
// else the folder that it is in, or else the folder above, and so on.
func match(patterns []pattern, name string) bool {
	for isDir := false; name != "."; name, isDir = path.Dir(name), true {
		for i := len(patterns) - 1; i >= 0; i-- {
			if p := patterns[i]; p.match(name, isDir) {
				return !p.not
			}
		}
	}
	return false
}

func (p pattern) match(name string, isDir bool) bool {
	if p.dir && !isDir {
		return false
	}
	if !p.root {
		name = path.Base(name)
	}
	if !p.prefix {
		return name == p.name
	}
	// A star stands for no slash.
	rest, ok := strings.CutPrefix(name, p.name)
	return ok && !strings.Contains(rest, "/")
}
