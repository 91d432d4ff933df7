package modules

import (
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/share"
)

// hidden is what [Publish] keeps beside its links: content folders, and links
// that were not renamed yet. The first group is the driver version.
var hidden = regexp.MustCompile(`^\.(.+?)(-[0-9a-f]{12}(?:\.[0-9]+)?|\.tmp-[0-9a-z]+)$`)

// versionOf is the driver version that a hidden entry belongs to; "" where it
// is not one.
func versionOf(name string) string {
	if match := hidden.FindStringSubmatch(name); match != nil {
		return match[1]
	}
	return ""
}

// ours says whether Publish may have made an entry: a folder with its content's
// digest in its name, or a link on its way.
func ours(e fs.DirEntry) bool {
	return versionOf(e.Name()) != "" && (e.IsDir() || strings.Contains(e.Name(), ".tmp-"))
}

// unnamed are the hidden entries of a release's folder that no link names.
func unnamed(dir string, links []string) ([]string, error) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, err
	}
	links = append(links, targets(dir, entries)...)
	var list []string
	for _, e := range entries {
		if ours(e) && !slices.ContainsFunc(links, func(target string) bool { return passes(target, e.Name()) }) {
			list = append(list, e.Name())
		}
	}
	return list, nil
}

// targets are what the links among a folder's entries name, but for those that
// a crash left half made.
func targets(dir string, entries []fs.DirEntry) []string {
	var list []string
	for _, e := range entries {
		if e.Type()&fs.ModeSymlink == 0 || versionOf(e.Name()) != "" {
			continue
		}
		if target, err := os.Readlink(filepath.Join(dir, e.Name())); err == nil {
			list = append(list, target)
		}
	}
	return list
}

// passes says whether a path leads to an entry or through it. A link may have
// been made outside of the container, where the share is at another path, so
// only the name counts, which holds a digest.
func passes(path, name string) bool {
	return slices.Contains(strings.Split(filepath.ToSlash(path), "/"), name)
}

// Superseded lists, sorted, the paths of what [Publish] left in the share and
// no link names: results that others replaced, and links that a crash left half
// made. A link counts where it is beside them or in SHARE/modules.
func Superseded(s *share.Share) ([]string, error) {
	releases, err := os.ReadDir(s.Modules())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	links := targets(s.Modules(), releases)
	var list []string
	for _, release := range releases {
		if !release.IsDir() {
			continue // nor is a link one
		}
		dir := filepath.Join(s.Modules(), release.Name())
		names, err := unnamed(dir, links)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			list = append(list, filepath.Join(dir, name))
		}
	}
	return list, nil
}

// sweep removes the content folders of this driver version that no link beside
// them names, and the links that a crash left half made.
func (p publisher) sweep(link string) error {
	dir, version := filepath.Dir(link), filepath.Base(link)
	names, err := unnamed(dir, nil)
	if err != nil {
		return err
	}
	for _, name := range names {
		if versionOf(name) != version {
			continue
		}
		if err := p.step("remove " + name); err != nil {
			return err
		}
		if err := os.RemoveAll(filepath.Join(dir, name)); err != nil {
			return err
		}
	}
	return nil
}
