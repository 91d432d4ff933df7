package partial

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/index"

	"github.com/k8sp/cuda/internal/beneath"
)

// maxRef bounds what is read of a file that names a commit.
const maxRef = 4096

// ReadHead returns the commit that a repository is at. It reads git's files as
// they are, and not by way of go-git, which does not open a repository once
// `git sparse-checkout` was used in it.
func ReadHead(dir string) (plumbing.Hash, error) {
	text, err := readSmall(dir, "HEAD")
	if err != nil {
		return plumbing.ZeroHash, err
	}
	if ref, ok := strings.CutPrefix(text, "ref: "); ok {
		return ReadRef(dir, ref)
	}
	return parseHash(text)
}

// ReadRef returns the object of a ref, by its full name. It looks
// where git keeps it, as a file of its own or in the list of those it packed.
func ReadRef(dir, ref string) (plumbing.Hash, error) {
	text, err := readSmall(dir, filepath.FromSlash(ref))
	if err == nil {
		return parseHash(text)
	}
	if !errors.Is(err, os.ErrNotExist) {
		return plumbing.ZeroHash, err
	}
	f, err := beneath.Open(filepath.Join(dir, dot, "packed-refs"))
	if err != nil {
		return plumbing.ZeroHash, err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if hash, name, _ := strings.Cut(lines.Text(), " "); name == ref {
			return parseHash(hash)
		}
	}
	return plumbing.ZeroHash, errors.Join(lines.Err(), fmt.Errorf("the ref %s does not exist", ref))
}

// LocalRefs returns the full names of the refs that a repository may have alone,
// sorted: its branches and its stash.
func LocalRefs(dir string) ([]string, error) {
	root := beneath.Dir(filepath.Join(dir, dot))
	var refs []string
	err := fs.WalkDir(root, "refs", func(path string, d fs.DirEntry, err error) error {
		if err == nil && !d.IsDir() {
			refs = append(refs, path)
		}
		return err
	})
	if err != nil {
		return nil, err
	}
	packed, err := fs.ReadFile(root, "packed-refs")
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	for line := range strings.Lines(string(packed)) {
		// Others are a comment, and what the tag above it stands for.
		if hash, name, _ := strings.Cut(strings.TrimSpace(line), " "); plumbing.IsHash(hash) {
			refs = append(refs, name)
		}
	}
	refs = slices.DeleteFunc(refs, func(ref string) bool {
		return !strings.HasPrefix(ref, "refs/heads/") && ref != "refs/stash"
	})
	slices.Sort(refs)
	return slices.Compact(refs), nil
}

func readSmall(dir, name string) (string, error) {
	f, err := beneath.Open(filepath.Join(dir, dot, name))
	if err != nil {
		return "", err
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxRef))
	return strings.TrimSpace(string(b)), err
}

func parseHash(text string) (plumbing.Hash, error) {
	if !plumbing.IsHash(text) {
		return plumbing.ZeroHash, fmt.Errorf("%.60q is not the name of a commit", text)
	}
	return plumbing.NewHash(text), nil
}

// ReadIndex returns git's list of a repository's files, and what of them is in
// the working tree.
func ReadIndex(dir string) (*index.Index, error) {
	f, err := beneath.Open(filepath.Join(dir, dot, "index"))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	idx := new(index.Index)
	return idx, index.NewDecoder(bufio.NewReader(f)).Decode(idx)
}

// Refs returns the refs of the repository at o.URL by their full names.
func Refs(ctx context.Context, o Options) (map[string]plumbing.Hash, error) {
	var refs map[string]plumbing.Hash
	c := &checkout{o: o.withDefaults()}
	err := c.persist(ctx, func(ctx context.Context) error {
		server, err := dial(ctx, &c.o)
		if err != nil {
			return err
		}
		defer server.close()
		refs = server.refs
		return nil
	})
	return refs, err
}
