package publish

import (
	"context"
	"path/filepath"

	"github.com/k8sp/cuda/internal/beneath"
)

// Adopt publishes a folder that was published elsewhere and lies in dir, in the share's
// file system, with its signature where it has one: files are what its index lists. What
// is in dir is given away. Of f it takes Share, Scratch, Link, Index and Text.
func (f Folder) Adopt(ctx context.Context, dir string, files []File) error {
	f.Files = nil
	for _, file := range files {
		file.From = filepath.Join(dir, filepath.FromSlash(file.Name))
		if file.Target == "" {
			file.Twins = []string{file.From}
		}
		f.Files = append(f.Files, file)
	}
	if _, err := beneath.Lstat(filepath.Join(dir, SignatureFile(f.Index))); err == nil {
		f.Sign = func([]byte) ([]byte, error) { return readSignature(dir, f.Index) }
	}
	return f.Publish(ctx)
}
