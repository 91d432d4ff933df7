package image

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"

	"github.com/k8sp/cuda/internal/decompress"
)

// unpack returns the content of data, up to limit bytes, and the name of its
// compression.
func unpack(ctx context.Context, data []byte, limit int64) (name string, content []byte, err error) {
	r, name, err := decompress.Reader(bufio.NewReader(bytes.NewReader(data)))
	if err != nil {
		return name, nil, fmt.Errorf("%w: its payload: %w", ErrFormat, err)
	}
	defer r.Close()
	if name == "" {
		return "", nil, fmt.Errorf("%w: begins with % x, which is no kernel and no compression of one", ErrFormat, data[:min(len(data), 8)])
	}
	content, err = readPayload(contextReader{ctx, r}, data, limit)
	if ctx.Err() != nil {
		return name, nil, ctx.Err()
	}
	if err != nil {
		return name, nil, fmt.Errorf("%w: its %s payload: %w", ErrFormat, name, err)
	}
	return name, content, nil
}

// readPayload reads r, the content of packed, to its end. Kbuild appends the
// content's size in four bytes (size_append in scripts/Makefile.lib), which
// decompressors take for damage after the end: it is the end, where it says so.
func readPayload(r io.Reader, packed []byte, limit int64) ([]byte, error) {
	var said uint32
	if len(packed) > 4 {
		said = le.Uint32(packed[len(packed)-4:])
	}
	var content bytes.Buffer
	// No kernel shrinks to a 64th: what claims to may not have the memory
	// before it has the bytes.
	if int64(said) <= min(limit, 64*int64(len(packed))) {
		content.Grow(int(said) + bytes.MinRead)
	}
	_, err := content.ReadFrom(io.LimitReader(r, limit+1))
	if int64(content.Len()) > limit {
		return nil, fmt.Errorf("larger than %d MiB", limit>>20)
	}
	if err != nil && (said == 0 || int64(content.Len()) != int64(said)) {
		return nil, err
	}
	return content.Bytes(), nil
}
