package registry

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// maxWindow is as much memory as the layer's compression may ask for, in bytes: twice
// what pack's takes.
const maxWindow = 16 << 20

// unpack leaves the folder of a layer in dir, which is there and empty: each file that the
// index lists, exactly as it is listed, and nothing else. What comes of a layer that is cut
// off, or has more, is an error, and what is in dir then is for nothing.
func unpack(ctx context.Context, k Kind, layer io.Reader, dir string) error {
	z, err := zstd.NewReader(layer, zstd.WithDecoderConcurrency(1), zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return err
	}
	defer z.Close()
	r := tar.NewReader(z)
	u := unpacker{kind: k, dir: dir}
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			return err
		}
		if h.Typeflag == tar.TypeDir {
			continue // made where they are needed
		}
		if err := u.entry(h, r); err != nil {
			return fmt.Errorf("%q: %w", h.Name, err)
		}
	}
	if !u.listed {
		return fmt.Errorf("there is no %s in it", k.Index)
	}
	for _, f := range u.files {
		return fmt.Errorf("%s is listed, and is not in it", f.Name)
	}
	return nil
}

type unpacker struct {
	kind   Kind
	dir    string
	listed bool
	// files are those that are listed and did not come yet, by their paths in the image,
	// and others those beside them, which are for others.
	files  map[string]publish.File
	others map[string]bool
}

var (
	errUnlisted = errors.New("is not listed")
	errOther    = errors.New("is not as it is listed")
)

// entry is one of the tar's.
func (u *unpacker) entry(h *tar.Header, r io.Reader) error {
	switch h.Name {
	case u.kind.at(u.kind.Index):
		return u.index(h, r)
	case u.kind.at(publish.SignatureFile(u.kind.Index)):
		if h.Typeflag != tar.TypeReg || h.Size > publish.MaxSignature {
			return errOther
		}
		return u.write(publish.File{Name: publish.SignatureFile(u.kind.Index)}, r)
	}
	f, ok := u.files[h.Name]
	switch {
	case ok:
		delete(u.files, h.Name)
	case u.others[h.Name] && h.Size <= u.kind.MaxIndex:
		return nil
	default:
		return errUnlisted
	}
	if f.Target != "" {
		if h.Typeflag != tar.TypeSymlink || h.Linkname != f.Target {
			return errOther
		}
		return beneath.Symlink(f.Target, u.path(f.Name))
	}
	if h.Typeflag != tar.TypeReg || h.Size != f.Size {
		return errOther
	}
	return u.write(f, r)
}

// index is the list, which comes before what it lists.
func (u *unpacker) index(h *tar.Header, r io.Reader) error {
	if u.listed || h.Typeflag != tar.TypeReg || h.Size > u.kind.MaxIndex {
		return errOther
	}
	text, err := io.ReadAll(r)
	if err != nil {
		return err
	}
	files, err := u.kind.Contents(text)
	if err != nil {
		return err
	}
	extras, err := u.kind.beside(text)
	if err != nil {
		return err
	}
	u.listed, u.files, u.others = true, map[string]publish.File{}, map[string]bool{}
	for _, e := range extras {
		u.others[e.At] = true
	}
	for _, f := range files {
		if !filepath.IsLocal(f.Name) || path.Clean(f.Name) != f.Name {
			return fmt.Errorf("a file cannot be %q", f.Name)
		}
		if err := beneath.MkdirAll(filepath.Dir(u.path(f.Name)), 0o755); err != nil {
			return err
		}
		u.files[u.kind.at(f.Name)] = f
	}
	return beneath.WriteFile(u.path(u.kind.Index), text, 0o644)
}

func (u *unpacker) path(name string) string {
	return filepath.Join(u.dir, filepath.FromSlash(name))
}

// write writes a file as it streams by. One without a digest is not compared.
func (u *unpacker) write(f publish.File, r io.Reader) error {
	mode := f.Mode
	if mode == 0 {
		mode = 0o644
	}
	out, err := beneath.CreateNew(u.path(f.Name), mode)
	if err != nil {
		return err
	}
	got, _, err := publish.Digest(io.TeeReader(r, out))
	if err := errors.Join(err, out.Close()); err != nil {
		return err
	}
	if f.SHA256 != "" && got != f.SHA256 {
		return errOther
	}
	return nil
}
