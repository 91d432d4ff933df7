package kernel

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/decompress"
	"github.com/k8sp/cuda/internal/untar"
)

// archiveLimits bound a captured host. The largest file in one is its kernel's
// image, up to image.MaxSize.
var archiveLimits = untar.Options{MaxBytes: 1 << 30, MaxFiles: 20_000}

// OpenRootArchive opens a host that [Capture] recorded: a tar, plain or
// compressed. It is unpacked into a new folder in scratch, which is the
// caller's to remove.
func OpenRootArchive(ctx context.Context, path, scratch string) (*Root, error) {
	dir, err := unpackRoot(ctx, path, scratch)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	root, err := OpenRoot(dir)
	if err != nil {
		return nil, err
	}
	root.captured = true
	return root, nil
}

func unpackRoot(ctx context.Context, path, scratch string) (dir string, err error) {
	real, err := beneath.Resolve(path)
	if err != nil {
		return "", err
	}
	f, err := beneath.Open(real)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if dir, err = os.MkdirTemp(scratch, "host-"); err != nil {
		return "", err
	}
	if dir, err = beneath.Resolve(dir); err != nil { // where TMPDIR is a link
		return "", err
	}
	if err := extract(ctx, bufio.NewReader(f), dir); err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

func extract(ctx context.Context, r *bufio.Reader, dir string) error {
	if _, err := r.Peek(1); err != nil {
		return fmt.Errorf("too short for an archive: %w", err)
	}
	inside, _, err := decompress.Reader(r)
	if err != nil {
		return err
	}
	return errors.Join(untar.Extract(ctx, inside, dir, archiveLimits), inside.Close())
}
