// Package spill holds what a decompressor gives, of which nobody knows how much it
// will be: a little in memory, more in a file without a name, whose pages the
// kernel takes back when memory is short. So a file of some MB that unpacks to
// hundreds does not end a container that has less memory than that.
package spill

import (
	"bytes"
	"errors"
	"io"
	"math"
	"os"

	"golang.org/x/sys/unix"
)

// inMemory is how much is held in memory, in bytes: what nearly all modules need.
const inMemory = 4 << 20

// Data is what was read.
type Data struct {
	// Bytes are only to be read, and not once Free was called.
	Bytes  []byte
	mapped bool
}

// Read reads at most limit bytes of r, and returns with its error what came before
// that. Where no file can be made in the folder for temporary files, all is held in
// memory.
func Read(r io.Reader, limit int64) (Data, error) {
	r = io.LimitReader(r, limit)
	var head bytes.Buffer
	n, err := io.CopyN(&head, r, inMemory)
	if errors.Is(err, io.EOF) {
		err = nil
	}
	if err != nil || n < inMemory {
		return Data{Bytes: head.Bytes()}, err
	}
	f, fileErr := os.CreateTemp("", "spill-")
	if fileErr != nil {
		_, err := head.ReadFrom(r)
		return Data{Bytes: head.Bytes()}, err
	}
	defer f.Close()
	if err := os.Remove(f.Name()); err != nil {
		return Data{}, err
	}
	size, err := io.Copy(f, io.MultiReader(&head, r))
	if size == 0 || size > math.MaxInt {
		return Data{}, err
	}
	b, mapErr := unix.Mmap(int(f.Fd()), 0, int(size), unix.PROT_READ, unix.MAP_SHARED)
	if mapErr != nil {
		return Data{}, &os.PathError{Op: "mmap", Path: f.Name(), Err: mapErr}
	}
	return Data{b, true}, err
}

// Free gives back what the data takes. A second call does nothing.
func (d *Data) Free() {
	if d.mapped {
		_ = unix.Munmap(d.Bytes)
	}
	*d = Data{}
}
