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
	"regexp"
	"slices"
	"strings"

	"github.com/bluekeyes/go-gitdiff/gitdiff"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/stage"
)

// maxPatch bounds a patch, in bytes: all of those that distributions have for a driver
// are some 100 KB.
const maxPatch = 4 << 20

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

// Read reads the patches in a folder, *.patch and *.diff. Its errors are of the usage
// stage: there is no such folder or no patch in it, or one is none.
func Read(dir string) (Set, error) {
	entries, err := beneath.ReadDir(dir)
	if err != nil {
		return nil, stage.Wrap(stage.Usage, err, "the folder of patches for the driver cannot be read", "correct --driver-patches, or mount the folder")
	}
	var set Set
	for _, e := range entries { // in order of their names
		if !slices.Contains([]string{".patch", ".diff"}, path.Ext(e.Name())) {
			continue
		}
		p, err := readPatch(dir, e)
		if err != nil {
			return nil, stage.Wrap(stage.Usage, err, fmt.Sprintf("%s is no patch that could be applied to the driver's sources", e.Name()),
				"correct it, or take it out of the folder that --driver-patches names")
		}
		set = append(set, p)
	}
	if len(set) == 0 {
		return nil, stage.New(stage.Usage, fmt.Sprintf("there is no patch for the driver in %s", dir),
			"put unified diffs there, whose names end in .patch or .diff, or leave --driver-patches out")
	}
	return set, nil
}

func readPatch(dir string, e fs.DirEntry) (Patch, error) {
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
	return parse(e.Name(), text)
}

func parse(name string, text []byte) (Patch, error) {
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
		switch err := check(f); {
		case errors.As(err, new(pathError)) && unprefixed.Match(text):
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

// unprefixed is git's header of a file that has the package's path: the parser takes the
// first folder off.
var unprefixed = regexp.MustCompile(`(?m)^diff --git (kernel|kernel-open)/`)

// check refuses what a change of sources never is, and makes of the names of a file
// its path in the package.
func check(f *gitdiff.File) error {
	shown := f.NewName
	if f.IsDelete {
		shown = f.OldName
	}
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
		inside, err := sourcePath(*name)
		if err != nil {
			return err
		}
		*name = inside
	}
	return nil
}

// isPlain says whether a mode, as git writes it, is a plain file's, or is not said.
func isPlain(mode fs.FileMode) bool { return mode == 0 || mode == 0o100644 || mode == 0o100755 }

// folders are those of a package that a patch may change something in.
var folders = []string{"kernel", "kernel-open"}

// sourcePath is a file's path in the package, by its name in a patch: without the
// first folder of the name, which diff and git put there, unless git's was taken off
// already.
func sourcePath(name string) (string, error) {
	_, stripped, _ := strings.Cut(name, "/")
	for _, inside := range []string{name, stripped} {
		top, _, below := strings.Cut(inside, "/")
		// No path with "..", nor one from the root, is valid.
		if below && fs.ValidPath(inside) && !strings.ContainsAny(inside, "\\\x00") && slices.Contains(folders, top) {
			return inside, nil
		}
	}
	return "", pathError(name)
}

// pathError is a file's name in a patch that is no path of a source.
type pathError string

func (e pathError) Error() string {
	return fmt.Sprintf("%q is not a path a/kernel/… or a/kernel-open/… of the driver package's sources", string(e))
}
