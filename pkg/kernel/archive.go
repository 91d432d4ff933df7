package kernel

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"fmt"
	"io"
	"os"

	"github.com/klauspost/compress/zstd"

	"github.com/k8sp/cuda/internal/untar"
)

// archiveLimits bound a captured host. The largest file in one is a kernel
// image or a kallsyms, some 20 MB.
var archiveLimits = untar.Options{MaxBytes: 1 << 30, MaxFiles: 20_000}

// OpenRootArchive opens a host that [Capture] recorded: a tar, plain, gzip'ed
// or zstd'ed. It is unpacked into a new folder in scratch, which is the
// caller's to remove.
func OpenRootArchive(ctx context.Context, path, scratch string) (*Root, error) {
	dir, err := unpackRoot(ctx, path, scratch)
	if err != nil {
		return nil, fmt.Errorf("unpack %s: %w", path, err)
	}
	return OpenRoot(dir)
}

func unpackRoot(ctx context.Context, path, scratch string) (dir string, err error) {
	f, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer f.Close()
	if dir, err = os.MkdirTemp(scratch, "host-"); err != nil {
		return "", err
	}
	if err = decompressed(f, func(r io.Reader) error {
		return untar.Extract(ctx, r, dir, archiveLimits)
	}); err != nil {
		_ = os.RemoveAll(dir)
		return "", err
	}
	return dir, nil
}

// decompressed hands use the stream in r, uncompressed by what its first bytes
// say it is.
func decompressed(r io.Reader, use func(io.Reader) error) error {
	b := bufio.NewReader(r)
	magic, err := b.Peek(4)
	if err != nil {
		return fmt.Errorf("too short for an archive: %w", err)
	}
	switch {
	case bytes.HasPrefix(magic, []byte{0x1f, 0x8b}):
		z, err := gzip.NewReader(b)
		if err != nil {
			return err
		}
		return use(z)
	case bytes.Equal(magic, []byte{0x28, 0xb5, 0x2f, 0xfd}):
		z, err := zstd.NewReader(b, zstd.WithDecoderMaxMemory(256<<20))
		if err != nil {
			return err
		}
		defer z.Close()
		return use(z)
	}
	return use(b)
}
