package registry

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"hash"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	v1 "github.com/google/go-containerregistry/pkg/v1"
	"github.com/google/go-containerregistry/pkg/v1/types"
	"github.com/klauspost/compress/zstd"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// blob is a layer that lies in a file.
type blob struct {
	path         string
	digest, diff v1.Hash
	size         int64
}

func (b blob) Digest() (v1.Hash, error)            { return b.digest, nil }
func (b blob) DiffID() (v1.Hash, error)            { return b.diff, nil }
func (b blob) Size() (int64, error)                { return b.size, nil }
func (b blob) MediaType() (types.MediaType, error) { return types.OCILayerZStd, nil }
func (b blob) Compressed() (io.ReadCloser, error)  { return beneath.Open(b.path) }

func (b blob) Uncompressed() (io.ReadCloser, error) {
	file, err := b.Compressed()
	if err != nil {
		return nil, err
	}
	r, err := zstd.NewReader(file)
	if err != nil {
		return nil, errors.Join(err, file.Close())
	}
	return &unpacked{r, file}, nil
}

// unpacked closes what is read from, too.
type unpacked struct {
	*zstd.Decoder
	from io.Closer
}

func (u *unpacked) Close() error {
	u.Decoder.Close()
	return u.from.Close()
}

// pack makes the layer of a published folder, in a file of its own.
func pack(ctx context.Context, k Kind, dir, to string) (blob, error) {
	index, err := publish.ReadIndex(dir, k.Index, k.MaxIndex, nil)
	if err != nil {
		return blob{}, err
	}
	files, err := k.Contents(index)
	if err != nil {
		return blob{}, err
	}
	extras, err := k.beside(index)
	if err != nil {
		return blob{}, err
	}
	return compress(to, func(w packer) error {
		err := w.folder(ctx, k, dir, files)
		for _, e := range extras {
			if err != nil {
				break
			}
			err = w.extra(k, e)
		}
		return err
	})
}

// compress makes a layer of what is packed, in a file of its own.
func compress(to string, pack func(packer) error) (blob, error) {
	return compressed(to, func(out io.Writer) error {
		w := packer{Writer: tar.NewWriter(out), made: map[string]bool{}}
		return errors.Join(pack(w), w.Close())
	})
}

// compressed makes a layer of what is written.
func compressed(to string, write func(io.Writer) error) (blob, error) {
	out, err := beneath.Create(to, 0o600)
	if err != nil {
		return blob{}, err
	}
	packed, whole := newCounter(out), sha256.New()
	err = func() error {
		// One thread, as what several make may depend on how they are scheduled.
		z, err := zstd.NewWriter(packed, zstd.WithEncoderConcurrency(1), zstd.WithEncoderLevel(zstd.SpeedBetterCompression))
		if err != nil {
			return err
		}
		return errors.Join(write(io.MultiWriter(z, whole)), z.Close())
	}()
	if err := errors.Join(err, out.Close()); err != nil {
		return blob{}, err
	}
	return blob{to, hashOf(packed.sum), hashOf(whole), packed.n}, nil
}

func hashOf(h hash.Hash) v1.Hash {
	return v1.Hash{Algorithm: "sha256", Hex: hex.EncodeToString(h.Sum(nil))}
}

// counter knows the length and the digest of what was written.
type counter struct {
	io.Writer
	sum hash.Hash
	n   int64
}

func newCounter(w io.Writer) *counter {
	sum := sha256.New()
	return &counter{Writer: io.MultiWriter(w, sum), sum: sum}
}

func (c *counter) Write(p []byte) (int, error) {
	n, err := c.Writer.Write(p)
	c.n += int64(n)
	return n, err
}

type packer struct {
	*tar.Writer
	made map[string]bool // folders
}

// folder writes the index, its signature where there is one, and the other files in the
// order of their names.
func (p packer) folder(ctx context.Context, k Kind, dir string, files []publish.File) error {
	first := publish.Unlisted(dir, k.Index)
	files = slices.Clone(files)
	slices.SortFunc(files, func(a, b publish.File) int { return strings.Compare(a.Name, b.Name) })
	for i, f := range slices.Concat(first, files) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := p.file(k.at(f.Name), dir, f, i >= len(first)); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

// parents writes the folders that a path is in, where they are not there.
func (p packer) parents(at string) error {
	for _, parent := range parents(at) {
		if p.made[parent] {
			continue
		}
		p.made[parent] = true
		if err := p.header(tar.Header{Typeflag: tar.TypeDir, Name: parent + "/", Mode: 0o755}); err != nil {
			return err
		}
	}
	return nil
}

func (p packer) header(h tar.Header) error {
	h.Format = tar.FormatPAX
	return p.WriteHeader(&h)
}

// extra writes what is beside a folder.
func (p packer) extra(k Kind, e Extra) error {
	if err := p.parents(e.At); err != nil {
		return err
	}
	switch {
	case e.Of != "":
		return p.header(tar.Header{Typeflag: tar.TypeLink, Name: e.At, Linkname: k.at(e.Of), Mode: 0o644})
	case e.Target != "":
		return p.header(tar.Header{Typeflag: tar.TypeSymlink, Name: e.At, Linkname: e.Target, Mode: 0o777})
	}
	if err := p.header(tar.Header{Typeflag: tar.TypeReg, Name: e.At, Size: int64(len(e.Text)), Mode: 0o644}); err != nil {
		return err
	}
	_, err := p.Write(e.Text)
	return err
}

// file writes one. What is listed must be as it is listed.
func (p packer) file(at, dir string, f publish.File, listed bool) error {
	if err := p.parents(at); err != nil {
		return err
	}
	if f.Target != "" {
		return p.header(tar.Header{Typeflag: tar.TypeSymlink, Name: at, Linkname: f.Target, Mode: 0o777})
	}
	in, err := beneath.Open(filepath.Join(dir, filepath.FromSlash(f.Name)))
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if listed && info.Size() != f.Size {
		return publish.ErrChanged
	}
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
	}
	if err := p.header(tar.Header{Typeflag: tar.TypeReg, Name: at, Size: info.Size(), Mode: int64(mode & fs.ModePerm)}); err != nil {
		return err
	}
	got, _, err := publish.Digest(io.TeeReader(in, p))
	if err == nil && listed && got != f.SHA256 {
		err = publish.ErrChanged
	}
	return err
}
