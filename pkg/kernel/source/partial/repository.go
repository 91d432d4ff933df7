package partial

import (
	"bufio"
	"bytes"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/config"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/go-git/go-git/v5/plumbing/format/objfile"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
)

// dot is the folder of a repository's own files.
const dot = ".git"

// initialize makes an empty repository at dir, which git takes for one.
func initialize(dir string) error {
	for _, sub := range []string{"objects/pack", "objects/info", "refs/heads", "refs/tags", "info"} {
		if err := beneath.MkdirAll(filepath.Join(dir, dot, sub), 0o755); err != nil {
			return err
		}
	}
	return nil
}

// writeRepository writes what makes a repository of the objects: its
// configuration, where it is, and which files of the commit are there.
func (c *checkout) writeRepository() error {
	text := map[string]string{
		"HEAD":    c.commit.String() + "\n",
		c.o.Ref:   c.o.Want.String() + "\n",
		"shallow": c.commit.String() + "\n",
	}
	if c.o.Choose != nil {
		text["info/sparse-checkout"] = c.o.Patterns
	}
	var b bytes.Buffer
	if err := config.NewEncoder(&b).Encode(c.config()); err != nil {
		return err
	}
	text["config"] = b.String()
	for name, content := range text {
		name = filepath.Join(c.o.Dir, dot, name)
		if err := beneath.MkdirAll(filepath.Dir(name), 0o755); err != nil {
			return err
		}
		if err := beneath.WriteFile(name, []byte(content), 0o644); err != nil {
			return err
		}
	}
	return c.writeIndex()
}

// config has no extensions and so version 0: git takes a remote that is a
// promisor for one without, and go-git reads no other.
func (c *checkout) config() *config.Config {
	conf := config.New()
	conf.SetOption("core", "", "repositoryformatversion", "0")
	conf.SetOption("core", "", "filemode", "true")
	conf.SetOption("core", "", "bare", "false")
	// A kernel has a file aux.c, and NTFS reserves that name.
	conf.SetOption("core", "", "protectNTFS", "false")
	if c.folds {
		conf.SetOption("core", "", "ignorecase", "true")
	}
	if c.o.Choose != nil {
		conf.SetOption("core", "", "sparseCheckout", "true")
		conf.SetOption("core", "", "sparseCheckoutCone", "false")
	}
	conf.SetOption("remote", "origin", "url", c.o.URL)
	conf.SetOption("remote", "origin", "fetch", "+"+c.o.Ref+":"+c.o.Ref)
	conf.SetOption("remote", "origin", "promisor", "true")
	conf.SetOption("remote", "origin", "partialclonefilter", "blob:none")
	return conf
}

// writeIndex lists every file of the commit, those that are not checked out as
// such.
func (c *checkout) writeIndex() error {
	idx := &index.Index{Version: 2, Entries: make([]*index.Entry, len(c.files))}
	entries := make([]index.Entry, len(c.files))
	for i, f := range c.files {
		e := &entries[i]
		*e = index.Entry{Name: f.path, Hash: f.hash, Mode: f.mode, SkipWorktree: f.info == nil}
		if e.SkipWorktree {
			idx.Version = 3
		} else {
			stat(e, f.info)
		}
		idx.Entries[i] = e
	}
	return saveIndex(c.o.Dir, idx)
}

func saveIndex(dir string, idx *index.Index) error {
	out, err := beneath.Create(filepath.Join(dir, dot, "index"), 0o644)
	if err != nil {
		return err
	}
	w := bufio.NewWriterSize(out, 1<<18)
	return errors.Join(index.NewEncoder(w).Encode(idx), w.Flush(), out.Close())
}

// WriteIndex lists what is in a tree that is no repository, and what else would
// be in it if it were whole, so that [ReadIndex] tells of it, too.
func WriteIndex(dir string, absent []string) error {
	idx := &index.Index{Version: 3}
	for _, name := range absent {
		idx.Entries = append(idx.Entries, &index.Entry{Name: name, SkipWorktree: true})
	}
	err := beneath.WalkDir(dir, func(name string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		e := &index.Entry{Mode: filemode.Regular}
		if d.Type()&fs.ModeSymlink != 0 {
			e.Mode = filemode.Symlink
		}
		info, err := lstat(name)
		if err != nil {
			return err
		}
		stat(e, info)
		e.Name, err = filepath.Rel(dir, name)
		idx.Entries = append(idx.Entries, e)
		return err
	})
	if err == nil {
		err = beneath.Mkdir(filepath.Join(dir, dot), 0o755)
	}
	if err != nil {
		return err
	}
	return saveIndex(dir, idx)
}

// Stage has the index of a tree that [Checkout] or [WriteIndex] left say of some of its
// files, by their paths, what they are now, as `git add` does; those that are gone leave
// it.
func Stage(dir string, names []string) error {
	idx, err := ReadIndex(dir)
	if err != nil {
		return err
	}
	_, err = ReadHead(dir)
	repository := err == nil // else the index is all that there is
	for _, name := range names {
		idx.Entries = slices.DeleteFunc(idx.Entries, func(e *index.Entry) bool { return e.Name == name })
		path := filepath.Join(dir, filepath.FromSlash(name))
		info, err := lstat(path)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return err
		}
		content, err := beneath.ReadFile(path)
		if err != nil {
			return err
		}
		e := &index.Entry{Name: name, Mode: filemode.Regular, Hash: plumbing.ComputeHash(plumbing.BlobObject, content)}
		if info.Mode&0o100 != 0 {
			e.Mode = filemode.Executable
		}
		stat(e, info)
		idx.Entries = append(idx.Entries, e)
		if repository {
			if err := writeObject(dir, e.Hash, content); err != nil {
				return err
			}
		}
	}
	slices.SortFunc(idx.Entries, func(a, b *index.Entry) int { return strings.Compare(a.Name, b.Name) })
	return saveIndex(dir, idx)
}

// writeObject leaves the content of a file as a loose object.
func writeObject(dir string, hash plumbing.Hash, content []byte) error {
	name := hash.String()
	folder := filepath.Join(dir, dot, "objects", name[:2])
	if err := beneath.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	var packed bytes.Buffer
	w := objfile.NewWriter(&packed)
	err := w.WriteHeader(plumbing.BlobObject, int64(len(content)))
	if err == nil {
		_, err = w.Write(content)
	}
	if err := errors.Join(err, w.Close()); err != nil {
		return err
	}
	return beneath.WriteFile(filepath.Join(folder, name[2:]), packed.Bytes(), 0o444)
}

// lstat is what git compares of a file or link.
func lstat(path string) (*unix.Stat_t, error) {
	st := new(unix.Stat_t)
	return st, beneath.LstatSys(path, st)
}

// stat fills in what git compares before it reads a file.
func stat(e *index.Entry, info *unix.Stat_t) {
	e.Size = uint32(info.Size)
	e.ModifiedAt, e.CreatedAt = time.Unix(info.Mtim.Unix()), time.Unix(info.Ctim.Unix())
	e.Dev, e.Inode, e.UID, e.GID = uint32(info.Dev), uint32(info.Ino), info.Uid, info.Gid
}

// foldsCase says whether dir is on a file system that folds case.
func foldsCase(dir string) (bool, error) {
	probe := filepath.Join(dir, dot, "folds")
	if err := beneath.WriteFile(probe, nil, 0o644); err != nil {
		return false, err
	}
	defer beneath.Remove(probe)
	_, err := beneath.Lstat(filepath.Join(dir, dot, "FOLDS"))
	if errors.Is(err, os.ErrNotExist) {
		return false, nil
	}
	return err == nil, err
}
