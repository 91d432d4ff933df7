package command

import (
	"errors"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
)

// FilesError is a file of [Command.Files] that could not be put into its place.
type FilesError struct{ Err error }

func (e *FilesError) Error() string { return e.Err.Error() }

func (e *FilesError) Unwrap() error { return e.Err }

// PutFiles puts files into their places in this process's own file system, for
// the runners whose programs see that one. The function that is returned puts
// back what was there before. An error is a [FilesError], and nothing is changed.
func PutFiles(files map[string][]byte) (restore func(), err error) {
	var undo []func()
	restore = func() {
		for _, f := range slices.Backward(undo) {
			f()
		}
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		f, err := putFile(path, files[path])
		if err != nil {
			restore()
			return nil, &FilesError{err}
		}
		undo = append(undo, f)
	}
	return restore, nil
}

func putFile(path string, content []byte) (restore func(), err error) {
	before, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return nil, err
		}
		return func() { _ = os.Remove(path) }, os.WriteFile(path, content, 0o644)
	}
	if err != nil {
		return nil, err
	}
	info, err := os.Stat(path)
	if err != nil {
		return nil, err
	}
	restore = func() {
		_ = os.WriteFile(path, before, 0o600)
		_ = os.Chmod(path, info.Mode().Perm())
	}
	// Who reads it may be nobody.
	return restore, errors.Join(os.WriteFile(path, content, 0o644), os.Chmod(path, 0o644))
}
