package publish

import (
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/share"
)

// Unnamed lists, sorted, the names of what [Folder.Publish] left in the folder
// dir and no link leads to: results that others replaced, and links that a crash
// left half made. Links count that are in dir, and those given by their targets.
func Unnamed(dir string, links ...string) ([]string, error) {
	entries, err := beneath.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	links = append(slices.Clone(links), Targets(dir, entries)...)
	var list []string
	for _, e := range entries {
		if ours(e) && !slices.ContainsFunc(links, func(target string) bool { return passes(target, e.Name()) }) {
			list = append(list, e.Name())
		}
	}
	return list, nil
}

// Targets are what the links among a folder's entries name, but for those that
// a crash left half made.
func Targets(dir string, entries []fs.DirEntry) []string {
	var list []string
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 || share.LinkOf(e.Name()) != "" {
			continue
		}
		if target, err := beneath.Readlink(filepath.Join(dir, e.Name())); err == nil {
			list = append(list, target)
		}
	}
	return list
}

// ours says whether Publish may have made an entry: a folder with its content's
// digest in its name, or a link on its way.
func ours(e fs.DirEntry) bool {
	return share.LinkOf(e.Name()) != "" && (e.IsDir() || strings.Contains(e.Name(), ".tmp-"))
}

// passes says whether a path leads to an entry or through it. A link may have
// been made outside of the container, where the share is at another path, so
// only the name counts, which holds a digest.
func passes(path, name string) bool {
	return slices.Contains(strings.Split(filepath.ToSlash(path), "/"), name)
}

// sweep removes the content folders of this link that no link beside it names,
// and the links that a crash left half made.
func (f Folder) sweep() error {
	dir, base := filepath.Dir(f.Link), filepath.Base(f.Link)
	names, err := Unnamed(dir)
	if err != nil {
		return err
	}
	for _, name := range names {
		if share.LinkOf(name) != base {
			continue
		}
		if err := f.step("remove " + name); err != nil {
			return err
		}
		if err := beneath.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
