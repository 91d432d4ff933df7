package gitpack

import (
	"bufio"
	"crypto"
	"encoding/binary"
	"errors"
	"io"
	"os"
	"path/filepath"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/idxfile"
	"github.com/go-git/go-git/v5/plumbing/hash"

	"github.com/k8sp/cuda/internal/beneath"
)

// file is a pack that is being written. It has the name under which git, too,
// keeps and later removes what is not finished.
type file struct {
	dir string
	f   *os.File
	w   *bufio.Writer
}

func create(dir string) (*file, error) {
	if err := beneath.MkdirAll(dir, 0o755); err != nil {
		return nil, err
	}
	f, err := beneath.CreateTemp(dir, "tmp_pack_")
	if err != nil {
		return nil, err
	}
	return &file{dir, f, bufio.NewWriterSize(f, 1<<20)}, nil
}

func (f *file) Write(b []byte) (int, error) { return f.w.Write(b) }

// discard removes what was not kept.
func (f *file) discard() {
	if f.f != nil {
		f.f.Close()
		beneath.Remove(f.f.Name())
	}
}

// reader is the file as far as it was written.
func (f *file) reader() (*os.File, error) {
	if err := f.w.Flush(); err != nil {
		return nil, err
	}
	return beneath.Open(f.f.Name())
}

// endsWith fails for a file in which something follows the checksum.
func (f *file) endsWith(sum plumbing.Hash) error {
	if err := f.w.Flush(); err != nil {
		return err
	}
	end, err := f.f.Seek(-int64(len(sum)), io.SeekEnd)
	if err != nil {
		return err
	}
	var last plumbing.Hash
	if _, err := f.f.ReadAt(last[:], end); err != nil {
		return err
	}
	if last != sum {
		return errors.New("something follows its checksum")
	}
	return nil
}

// cut makes a whole pack of the first bytes of one, which hold so many objects.
func (f *file) cut(end int64, objects int) (plumbing.Hash, error) {
	if err := errors.Join(f.w.Flush(), f.f.Truncate(end)); err != nil {
		return plumbing.ZeroHash, err
	}
	if _, err := f.f.WriteAt(binary.BigEndian.AppendUint32(nil, uint32(objects)), 8); err != nil {
		return plumbing.ZeroHash, err
	}
	sum := hash.New(crypto.SHA1)
	if _, err := io.Copy(sum, io.NewSectionReader(f.f, 0, end)); err != nil {
		return plumbing.ZeroHash, err
	}
	_, err := f.f.WriteAt(sum.Sum(nil), end)
	return plumbing.Hash(sum.Sum(nil)), err
}

// keep gives the pack its name, and then its index, with which git begins to
// see it.
func (f *file) keep(entries []entry, sum plumbing.Hash) error {
	if err := errors.Join(f.w.Flush(), beneath.ChmodFile(f.f, 0o444), f.f.Close()); err != nil {
		return err
	}
	name := filepath.Join(f.dir, "pack-"+sum.String())
	if err := beneath.Rename(f.f.Name(), name+".pack"); err != nil {
		return err
	}
	f.f = nil
	if err := beneath.WriteFile(name+".promisor", nil, 0o444); err != nil && !errors.Is(err, os.ErrPermission) {
		return err
	}
	return writeIndex(name+".idx", entries, sum)
}

func writeIndex(name string, entries []entry, sum plumbing.Hash) error {
	var all idxfile.Writer
	if err := all.OnHeader(uint32(len(entries))); err != nil {
		return err
	}
	for _, e := range entries {
		all.Add(e.hash, uint64(e.offset), e.crc)
	}
	if err := all.OnFooter(sum); err != nil {
		return err
	}
	index, err := all.Index()
	if err != nil {
		return err
	}
	temp, err := beneath.CreateTemp(filepath.Dir(name), "tmp_idx_")
	if err != nil {
		return err
	}
	defer beneath.Remove(temp.Name())
	defer temp.Close()
	w := bufio.NewWriterSize(temp, 1<<16)
	if _, err := idxfile.NewEncoder(w).Encode(index); err != nil {
		return err
	}
	if err := errors.Join(w.Flush(), beneath.ChmodFile(temp, 0o444), temp.Close()); err != nil {
		return err
	}
	return beneath.Rename(temp.Name(), name)
}
