package patch

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/stage"
)

// maxPatch bounds a patch, in bytes: all of those that distributions have for a driver
// are some 100 KB.
const maxPatch = 4 << 20

// Subject is what patches are for.
type Subject struct {
	// Of is what they change, "the driver's sources", and Option names the folder that
	// they are in, "--driver-patches".
	Of, Option string
	// Stage is the one that a patch fails which does not apply.
	Stage stage.Name
	// Folders are those at the top that files may be changed in; Files those that may
	// be changed at the top itself.
	Folders, Files []string
}

// Driver is a driver package.
var Driver = Subject{
	Of: "the driver's sources", Option: "--driver-patches", Stage: stage.Driver,
	Folders: []string{"kernel", "kernel-open"},
}

// Kernel is a kernel's source, of any line from 4.9 on.
var Kernel = Subject{
	Of: "the kernel's source", Option: "--source-patches", Stage: stage.Source,
	Folders: []string{
		"Documentation", "LICENSES", "arch", "block", "certs", "crypto", "drivers", "firmware", "fs", "include", "init", "io_uring", "ipc",
		"kernel", "lib", "mm", "net", "rust", "samples", "scripts", "security", "sound", "tools", "usr", "virt",
	},
	Files: []string{".gitignore", "COPYING", "CREDITS", "Kbuild", "Kconfig", "MAINTAINERS", "Makefile", "README"},
}

// Patch is one file of a user's.
type Patch struct {
	// Name is the file's, SHA256 its digest in hexadecimal.
	Name, SHA256 string

	files []*gitdiff.File
}

// Set are patches in the order in which they are applied.
type Set []Patch

// String names the patches with their digests; it is empty of none.
func (s Set) String() string {
	var list []string
	for _, p := range s {
		list = append(list, p.Name+" sha256:"+p.SHA256)
	}
	return strings.Join(list, ", ")
}

// Read reads the patches for something in a folder, *.patch and *.diff. Its errors are of
// the usage stage: there is no such folder or no patch in it, or one is none.
func Read(dir string, of Subject) (Set, error) {
	entries, err := beneath.ReadDir(dir)
	if err != nil {
		return nil, stage.Wrap(stage.Usage, err, "the folder of patches for "+of.Of+" cannot be read", "correct "+of.Option+", or mount the folder")
	}
	var set Set
	for _, e := range entries { // in order of their names
		if !slices.Contains([]string{".patch", ".diff"}, path.Ext(e.Name())) {
			continue
		}
		p, err := of.readPatch(dir, e)
		if err != nil {
			return nil, stage.Wrap(stage.Usage, err, fmt.Sprintf("%s is no patch that could be applied to %s", e.Name(), of.Of),
				"correct it, or take it out of the folder that "+of.Option+" names")
		}
		set = append(set, p)
	}
	if len(set) == 0 {
		return nil, stage.New(stage.Usage, fmt.Sprintf("there is no patch for %s in %s", of.Of, dir),
			"put unified diffs there, whose names end in .patch or .diff, or leave "+of.Option+" out")
	}
	return set, nil
}

func (of Subject) readPatch(dir string, e fs.DirEntry) (Patch, error) {
	if !e.Type().IsRegular() {
		return Patch{}, errors.New("it is no plain file")
	}
	info, err := e.Info()
	if err != nil {
		return Patch{}, err
	}
	if info.Size() > maxPatch {
		return Patch{}, fmt.Errorf("it has more than %d bytes", maxPatch)
	}
	text, err := beneath.ReadFile(filepath.Join(dir, e.Name()))
	if err != nil {
		return Patch{}, err
	}
	return of.parse(e.Name(), text)
}

func (of Subject) parse(name string, text []byte) (Patch, error) {
	hunks, err := whole(text)
	if err != nil {
		return Patch{}, err
	}
	files, _, err := gitdiff.Parse(bytes.NewReader(text))
	switch {
	case err != nil:
		return Patch{}, err
	case len(files) == 0:
		return Patch{}, errors.New("there is no change in it")
	}
	for _, f := range files {
		switch err := of.check(f); {
		case errors.As(err, new(pathError)) && of.unprefixed(text):
			return Patch{}, errors.New("it was made without a prefix (git diff --no-prefix): make it with a/ and b/")
		case err != nil:
			return Patch{}, err
		}
		hunks -= len(f.TextFragments)
	}
	if hunks != 0 {
		return Patch{}, errors.New("not all of its hunks can be read")
	}
	sum := sha256.Sum256(text)
	return Patch{Name: name, SHA256: hex.EncodeToString(sum[:]), files: files}, nil
}

// unprefixed says whether git's headers name files by the subject's own paths: the parser
// takes the first folder off.
func (of Subject) unprefixed(text []byte) bool {
	for line := range bytes.Lines(text) {
		name, found := bytes.CutPrefix(line, []byte("diff --git "))
		if top, _, below := bytes.Cut(name, []byte("/")); found && below && slices.Contains(of.Folders, string(top)) {
			return true
		}
	}
	return false
}

// check refuses what a change of sources never is, and makes of the names of a file
// its path in the subject.
func (of Subject) check(f *gitdiff.File) error {
	shown := name(f)
	switch {
	case f.IsBinary:
		return fmt.Errorf("%q is a binary file", shown)
	case f.IsRename, f.IsCopy:
		return fmt.Errorf("%q is renamed or copied, not changed", shown)
	case !isPlain(f.OldMode), !isPlain(f.NewMode), f.OldMode != 0 && f.NewMode != 0 && f.OldMode != f.NewMode:
		return fmt.Errorf("%q is made something else than a plain file, or of another mode", shown)
	case len(f.TextFragments) == 0:
		return fmt.Errorf("nothing of %q is changed", shown)
	}
	for _, name := range []*string{&f.OldName, &f.NewName} {
		if *name == "" {
			continue
		}
		inside, err := of.path(*name)
		if err != nil {
			return err
		}
		*name = inside
	}
	return nil
}

// isPlain says whether a mode, as git writes it, is a plain file's, or is not said.
func isPlain(mode fs.FileMode) bool { return mode == 0 || mode == 0o100644 || mode == 0o100755 }

// path is a file's in the subject, by its name in a patch: without the first folder of
// the name, which diff and git put there, unless git's was taken off already.
func (of Subject) path(name string) (string, error) {
	_, stripped, _ := strings.Cut(name, "/")
	for _, inside := range []string{name, stripped} {
		top, _, below := strings.Cut(inside, "/")
		ours := below && slices.Contains(of.Folders, top) || !below && slices.Contains(of.Files, inside)
		// No path with "..", nor one from the root, is valid.
		if ours && fs.ValidPath(inside) && !strings.ContainsAny(inside, "\\\x00") {
			return inside, nil
		}
	}
	return "", pathError{name, of}
}

// pathError is a file's name in a patch that is no path of a source.
type pathError struct {
	name string
	of   Subject
}

func (e pathError) Error() string {
	return fmt.Sprintf("%q is not a path a/FOLDER/… of %s, which are in %s", e.name, e.of.Of, strings.Join(e.of.Folders, ", "))
}

// Files are the paths, in the subject, of all files that the patches change, add or
// remove, sorted.
func (s Set) Files() []string {
	var list []string
	for _, p := range s {
		for _, f := range p.files {
			list = append(list, name(f))
		}
	}
	slices.Sort(list)
	return slices.Compact(list)
}

// name is the path of the file that a change is of.
func name(f *gitdiff.File) string {
	if f.IsDelete {
		return f.OldName
	}
	return f.NewName
}
