package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"

	"github.com/k8sp/cuda/internal/beneath"
)

// File is a file of a folder, or a symbolic link.
type File struct {
	// Name is where it goes in the folder, slash-separated.
	Name string
	// Target is where a link leads; empty for a plain file, which the other
	// fields describe.
	Target string
	// From is the file that it is a copy of.
	From string
	// Size and SHA256, in hex, are what it must be: a copy that differs is
	// an error.
	Size   int64
	SHA256 string
	// Mode is its permissions; zero means 0644.
	Mode fs.FileMode
	// Twins are files of the share that may be the same. The first that is
	// serves by a hard link, which takes no space, in place of a copy.
	Twins []string
}

// Digest is the SHA-256 of what r gives, in hex, and its length.
func Digest(r io.Reader) (hexDigest string, n int64, err error) {
	sum := sha256.New()
	if n, err = io.Copy(sum, r); err != nil {
		return "", 0, err
	}
	return hex.EncodeToString(sum.Sum(nil)), n, nil
}

// Differs says how what is in dir differs from the file, or nothing where it
// is that file. It reads all of it.
func (f File) Differs(dir string) string {
	path := filepath.Join(dir, filepath.FromSlash(f.Name))
	info, err := beneath.Lstat(path)
	if err != nil {
		return fmt.Sprintf("%s cannot be read: %v", f.Name, err)
	}
	if f.Target != "" {
		if target, err := beneath.Readlink(path); err != nil || target != f.Target {
			return fmt.Sprintf("%s is not the link to %s that was published", f.Name, f.Target)
		}
		return ""
	}
	if !info.Mode().IsRegular() || info.Size() != f.Size {
		return fmt.Sprintf("%s is not the file of %d bytes that was published", f.Name, f.Size)
	}
	got, _, err := DigestFile(path)
	if err != nil {
		return fmt.Sprintf("%s cannot be read: %v", f.Name, err)
	}
	if got != f.SHA256 {
		return fmt.Sprintf("%s has digest %s and was published with %s", f.Name, got, f.SHA256)
	}
	return ""
}

// DigestFile is [Digest] of a file.
func DigestFile(path string) (hexDigest string, n int64, err error) {
	in, err := beneath.Open(path)
	if err != nil {
		return "", 0, err
	}
	defer in.Close()
	return Digest(in)
}

// ErrChanged is a file that is not as it was described, which it was before.
var ErrChanged = errors.New("changed after it was checked")

// Copy copies files from one folder to another, which is there and empty. A file that
// is not as described is [ErrChanged].
func Copy(ctx context.Context, from string, files []File, to string) error {
	folders := []string{to}
	for _, f := range files {
		if err := ctx.Err(); err != nil {
			return err
		}
		f.From, f.Twins = filepath.Join(from, filepath.FromSlash(f.Name)), nil
		folder, err := f.placeIn(to)
		if err != nil {
			return err
		}
		folders = append(folders, folder)
	}
	return settle(to, folders)
}

// placeIn makes the file in dir, and the folder below it that the file is in, which is
// returned.
func (f File) placeIn(dir string) (folder string, err error) {
	if !filepath.IsLocal(f.Name) || path.Clean(f.Name) != f.Name {
		return "", fmt.Errorf("a file cannot be published as %q", f.Name)
	}
	folder = filepath.Join(dir, filepath.FromSlash(path.Dir(f.Name)))
	if err := beneath.MkdirAll(folder, 0o755); err != nil {
		return "", err
	}
	return folder, f.place(dir)
}

// place makes the file in dir.
func (f File) place(dir string) error {
	to := filepath.Join(dir, filepath.FromSlash(f.Name))
	switch {
	case f.Target != "":
		return beneath.Symlink(f.Target, to)
	case f.link(dir, to):
		return nil
	}
	return f.copy(to)
}

// link makes the file a hard link of one of its twins, and says whether it
// could: what was linked is read, since a twin's folder may have been damaged.
func (f File) link(dir, to string) bool {
	for _, twin := range f.Twins {
		info, err := beneath.Lstat(twin)
		if err != nil || !info.Mode().IsRegular() || info.Size() != f.Size || info.Mode().Perm() != f.mode() {
			continue
		}
		if beneath.Link(twin, to) != nil {
			continue
		}
		if f.Differs(dir) == "" && flush(to) == nil {
			return true
		}
		_ = beneath.Remove(to)
	}
	return false
}

// flush has a file on the disk, as a twin in scratch may not be yet.
func flush(path string) error {
	file, err := beneath.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(file.Sync(), file.Close())
}

func (f File) mode() fs.FileMode {
	if f.Mode == 0 {
		return 0o644
	}
	return f.Mode
}

// copy copies the file to the disk.
func (f File) copy(to string) error {
	in, err := beneath.Open(f.From)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := beneath.CreateNew(to, f.mode())
	if err != nil {
		return err
	}
	// One that has grown meanwhile, or never ends, shall not fill the disk.
	got, n, err := Digest(io.TeeReader(io.LimitReader(in, f.Size+1), out))
	err = errors.Join(err, out.Sync(), out.Close())
	if err != nil {
		return fmt.Errorf("copy %s: %w", f.Name, err)
	}
	if got != f.SHA256 || n != f.Size {
		return fmt.Errorf("%s %w", f.From, ErrChanged)
	}
	return nil
}
