package image

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/k8sp/cuda/internal/decompress"
	"github.com/k8sp/cuda/internal/spill"
)

// unpack returns the content of data, up to limit bytes, and the name of its
// compression.
func unpack(ctx context.Context, data []byte, limit int64) (name string, content spill.Data, err error) {
	r, name, err := decompress.Reader(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		return name, spill.Data{}, fmt.Errorf("%w: its payload: %w", ErrFormat, err)
	}
	defer r.Close()
	if name == "" {
		return "", spill.Data{}, fmt.Errorf("%w: begins with % x, which is no kernel and no compression of one", ErrFormat, data[:min(len(data), 8)])
	}
	content, err = readPayload(contextReader{ctx, r}, data, limit)
	if err == nil && ctx.Err() == nil {
		return name, content, nil
	}
	content.Free()
	if ctx.Err() != nil {
		return name, spill.Data{}, ctx.Err()
	}
	return name, spill.Data{}, fmt.Errorf("%w: its %s payload: %w", ErrFormat, name, err)
}

// readPayload reads r, the content of packed, to its end. Kbuild appends the
// content's size in four bytes (size_append in scripts/Makefile.lib), which
// decompressors take for damage after the end: it is the end, where it says so.
func readPayload(r io.Reader, packed []byte, limit int64) (spill.Data, error) {
	var said uint32
	if len(packed) > 4 {
		said = le.Uint32(packed[len(packed)-4:])
	}
	content, err := spill.Read(r, limit+1)
	size := int64(len(content.Bytes))
	if size > limit {
		return content, fmt.Errorf("larger than %d MiB", limit>>20)
	}
	if err != nil && (said == 0 || size != int64(said)) {
		return content, err
	}
	return content, nil
}
