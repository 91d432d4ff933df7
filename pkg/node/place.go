package node

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/share"
)

// place is where the journal of a boot is written down; the zero place keeps
// nothing.
type place struct {
	share *share.Share
	file  string
}

// placeOf is the place for a boot.
func placeOf(s *share.Share, boot string) place {
	return place{s, filepath.Join(s.Private(), "loaded", boot+".json")}
}

// read reads what was written down; nothing where nothing was.
func (p place) read() ([]entry, error) {
	data, err := os.ReadFile(p.file)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	entries, err := parse(data)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", p.file, err)
	}
	return entries, nil
}

// write writes something down, or that there is nothing.
func (p place) write(ctx context.Context, data []byte) error {
	switch {
	case p.file == "":
		return nil
	case data == nil:
		if err := os.Remove(p.file); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	if err := p.share.MkdirAll(filepath.Dir(p.file)); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(p.file, data, 0o644); err != nil {
		return err
	}
	return p.share.Chown(ctx, p.file)
}
