package partial

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/gitpack"
)

// objects are those that a repository has: what just arrived, in memory but
// for blobs, and what is stored.
type objects struct {
	dir     string
	arrived map[plumbing.Hash]gitpack.Object
	stored  *filesystem.Storage // opened when it is asked
	packed  []*idxfile.MemoryIndex
}

func newObjects(dir string) *objects {
	return &objects{dir: dir, arrived: map[plumbing.Hash]gitpack.Object{}}
}

// arrive keeps what is asked for again; contents of files are not.
func (s *objects) arrive(o gitpack.Object) {
	if o.Type != plumbing.BlobObject {
		s.arrived[o.Hash] = o
	}
}

// changed looks at the packs again.
func (s *objects) changed() error {
	s.close()
	s.packed = nil
	names, err := beneath.Glob(filepath.Join(s.dir, dot, "objects", "pack"), "*.idx")
	for _, name := range names {
		f, err := beneath.Open(name)
		if err != nil {
			return err
		}
		idx := idxfile.NewMemoryIndex()
		err = idxfile.NewDecoder(bufio.NewReader(f)).Decode(idx)
		if err := errors.Join(err, f.Close()); err != nil {
			return fmt.Errorf("%s: %w", name, err)
		}
		s.packed = append(s.packed, idx)
	}
	return err
}

func (s *objects) close() {
	if s.stored != nil {
		_ = s.stored.Close() // only read
		s.stored = nil
	}
}

func (s *objects) open() *filesystem.Storage {
	if s.stored == nil {
		s.stored = filesystem.NewStorageWithOptions(stored{dir: filepath.Join(s.dir, dot)},
			cache.NewObjectLRU(16*cache.MiByte), filesystem.Options{KeepDescriptors: true})
	}
	return s.stored
}

// has says whether a pack has the object. It is asked for every file of a
// kernel, so it does not look for it as a file of its own, which this package
// writes none of.
func (s *objects) has(hash plumbing.Hash) bool {
	return slices.ContainsFunc(s.packed, func(idx *idxfile.MemoryIndex) bool {
		ok, err := idx.Contains(hash)
		return ok && err == nil
	})
}

// get returns an object whole, and as what its name says.
func (s *objects) get(hash plumbing.Hash) (gitpack.Object, error) {
	if o, ok := s.arrived[hash]; ok {
		return o, nil
	}
	stored, err := s.open().EncodedObject(plumbing.AnyObject, hash)
	if err != nil {
		return gitpack.Object{}, err
	}
	if stored.Size() > limits.Object {
		return gitpack.Object{}, fmt.Errorf("object %s: %w", hash, gitpack.ErrTooMuch)
	}
	r, err := stored.Reader()
	if err != nil {
		return gitpack.Object{}, err
	}
	content, err := io.ReadAll(r)
	if err := errors.Join(err, r.Close()); err != nil {
		return gitpack.Object{}, err
	}
	if plumbing.ComputeHash(stored.Type(), content) != hash {
		return gitpack.Object{}, fmt.Errorf("object %s: %w", hash, gitpack.ErrDamaged)
	}
	return gitpack.Object{Hash: hash, Type: stored.Type(), Content: content}, nil
}

// tree is the content of a tree.
func (s *objects) tree(hash plumbing.Hash) ([]byte, error) {
	o, err := s.get(hash)
	if err == nil && o.Type != plumbing.TreeObject {
		err = fmt.Errorf("it is a %s", o.Type)
	}
	return o.Content, err
}
