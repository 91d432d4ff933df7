package command

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
)

// OpenLeft opens a file that a command left, or is writing: a plain file with one
// name, and not what a link leads to, nor a pipe that nobody writes to.
func OpenLeft(path string) (*os.File, error) {
	f, err := beneath.Open(path)
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	err = unix.Fstat(int(f.Fd()), &st)
	if err == nil && (st.Mode&unix.S_IFMT != unix.S_IFREG || st.Nlink != 1) {
		err = errors.New("it is no plain file of its own")
	}
	if err != nil {
		f.Close()
		return nil, &fs.PathError{Op: "open", Path: path, Err: err}
	}
	return f, nil
}

// ReadLeft reads a file that a command left, of limit bytes at most.
func ReadLeft(path string, limit int64) ([]byte, error) {
	f, err := OpenLeft(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit+1))
	if err == nil && int64(len(text)) > limit {
		err = &fs.PathError{Op: "read", Path: path, Err: fmt.Errorf("it is larger than %d bytes", limit)}
	}
	return text, err
}

// CopyLeft copies a file that a command left to a new one, which nobody has open.
func CopyLeft(from, to string) error {
	in, err := OpenLeft(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := beneath.CreateNew(to, 0o644)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// WithLinked are folders and what links in them lead to that is in none of them,
// for [Command.Reads]. Links in a share are not gone by: its owner decides where
// they lead.
func WithLinked(dirs ...string) []string {
	all := slices.Clone(dirs)
	for n := 0; n < len(all); n++ {
		if beneath.Holds(all[n]) {
			continue
		}
		// What cannot be looked at is not shown, and whoever looks for it says so.
		_ = filepath.WalkDir(all[n], func(path string, d fs.DirEntry, err error) error {
			if err != nil || d.Type()&fs.ModeSymlink == 0 {
				return nil
			}
			target, err := os.Readlink(path)
			if err != nil {
				return nil
			}
			if !filepath.IsAbs(target) {
				target = filepath.Join(filepath.Dir(path), target)
			}
			if _, err := os.Stat(target); err == nil && !among(target, all) {
				all = append(all, target)
			}
			return nil
		})
	}
	return all
}

func among(path string, dirs []string) bool {
	return slices.ContainsFunc(dirs, func(dir string) bool { return path == dir || strings.HasPrefix(path, dir+"/") })
}
