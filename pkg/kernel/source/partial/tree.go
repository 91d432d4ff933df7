package partial

import (
	"bytes"
	"errors"
	"fmt"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"golang.org/x/sys/unix"
)

// What no kernel has: bounds for a repository that is out to fill a disk. A
// kernel of 2026 has 90,000 files, some 12 folders deep, 1.5 GB in all.
const (
	maxFiles = 1 << 19
	maxDepth = 64
	maxName  = 255
)

// file is one path of the commit.
type file struct {
	path string
	mode filemode.FileMode
	hash plumbing.Hash
	// wanted says that it is to be in the working tree; info is set once it is.
	wanted bool
	info   *unix.Stat_t
}

// walk lists the files of a tree in the order of git's index. trees returns
// the content of a tree by its name.
func walk(root plumbing.Hash, trees func(plumbing.Hash) ([]byte, error)) ([]*file, error) {
	w := walker{trees: trees}
	err := w.tree("", root, 0)
	return w.files, err
}

type walker struct {
	trees func(plumbing.Hash) ([]byte, error)
	files []*file
}

func (w *walker) tree(prefix string, hash plumbing.Hash, depth int) error {
	content, err := w.trees(hash)
	if err != nil {
		return fmt.Errorf("tree %s of the commit, %s: %w", hash, "/"+prefix, err)
	}
	if depth > maxDepth {
		return fmt.Errorf("the commit's folders are more than %d deep", maxDepth)
	}
	last := ""
	for len(content) > 0 {
		var e *file
		if e, content, err = entry(content); err != nil {
			return fmt.Errorf("tree %s of the commit: %w", hash, err)
		}
		// Git sorts a folder as if its name ended in a slash. In this order
		// no name is there twice, not even once as a link and once as a folder.
		key := e.path
		if e.mode == filemode.Dir {
			key += "/"
		}
		if key <= last || strings.TrimSuffix(key, "/") == strings.TrimSuffix(last, "/") {
			return fmt.Errorf("tree %s of the commit: %q is out of order", hash, e.path)
		}
		last = key
		e.path = prefix + e.path
		if e.mode == filemode.Dir {
			if err := w.tree(e.path+"/", e.hash, depth+1); err != nil {
				return err
			}
			continue
		}
		if w.files = append(w.files, e); len(w.files) > maxFiles {
			return fmt.Errorf("the commit has more than %d files", maxFiles)
		}
	}
	return nil
}

// entry takes the first entry off a tree's content: mode, name, object.
func entry(content []byte) (*file, []byte, error) {
	mode, rest, ok := bytes.Cut(content, []byte{' '})
	name, rest, ok2 := bytes.Cut(rest, []byte{0})
	if !ok || !ok2 || len(rest) < len(plumbing.ZeroHash) {
		return nil, nil, errors.New("it is cut short")
	}
	e := &file{path: string(name)}
	copy(e.hash[:], rest)
	if err := checkName(e.path); err != nil {
		return nil, nil, err
	}
	var err error
	if e.mode, err = filemode.New(string(mode)); err != nil {
		return nil, nil, err
	}
	switch e.mode {
	case filemode.Dir, filemode.Regular, filemode.Executable, filemode.Symlink:
	case filemode.Deprecated: // written by a git of 2005
		e.mode = filemode.Regular
	default:
		return nil, nil, fmt.Errorf("%q is neither a file, a folder nor a link", e.path)
	}
	return e, rest[len(plumbing.ZeroHash):], nil
}
