package image

import (
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"context"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

// maxWindow bounds the memory that a payload can make a decompressor take, in
// bytes. The kernel's build asks for 32 MiB with xz and 128 with zstd
// (scripts/xz_wrap.sh, cmd_zstd22 in scripts/Makefile.lib).
const maxWindow = 128 << 20

// compressions are the kernel's, by the first bytes of their output
// (lib/decompress.c).
var compressions = []struct {
	name, magic string
	open        func(io.Reader) (io.Reader, error)
}{
	{"gzip", "\x1f\x8b", func(r io.Reader) (io.Reader, error) { return gzip.NewReader(r) }},
	{"bzip2", "BZh", func(r io.Reader) (io.Reader, error) { return bzip2.NewReader(r), nil }},
	{"lzma", "\x5d\x00\x00", openLZMA},
	{"xz", "\xfd7zXZ\x00", openXZ},
	{"lzo", lzopMagic, openLZOP},
	{"lz4", "\x02\x21\x4c\x18", openLZ4},
	{"zstd", "\x28\xb5\x2f\xfd", openZstd},
}

// decompress returns the content of data, up to limit bytes, and the name of
// its compression.
func decompress(ctx context.Context, data []byte, limit int64) (name string, content []byte, err error) {
	for _, c := range compressions {
		if !bytes.HasPrefix(data, []byte(c.magic)) {
			continue
		}
		r, err := c.open(bytes.NewReader(data))
		if err != nil {
			return c.name, nil, fmt.Errorf("%w: its %s payload: %w", ErrFormat, c.name, err)
		}
		if closer, ok := r.(io.Closer); ok {
			defer closer.Close()
		}
		content, err := readPayload(contextReader{ctx, r}, data, limit)
		if ctx.Err() != nil {
			return c.name, nil, ctx.Err()
		}
		if err != nil {
			return c.name, nil, fmt.Errorf("%w: its %s payload: %w", ErrFormat, c.name, err)
		}
		return c.name, content, nil
	}
	return "", nil, fmt.Errorf("%w: begins with % x, which is no kernel and no compression of one", ErrFormat, data[:min(len(data), 8)])
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

func openLZMA(r io.Reader) (io.Reader, error) {
	return lzma.ReaderConfig{DictCap: maxWindow}.NewReader(r)
}

// openXZ is of a library that knows the branch filters, which kernels use.
func openXZ(r io.Reader) (io.Reader, error) { return xz.NewReader(r, maxWindow) }

// openLZ4 reads the legacy frames of kernels. One goroutine is as fast as its
// reader, and ends with it.
func openLZ4(r io.Reader) (io.Reader, error) {
	z := lz4.NewReader(r)
	return z, z.Apply(lz4.ConcurrencyOption(1))
}

func openZstd(r io.Reader) (io.Reader, error) {
	z, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(1))
	if err != nil {
		return nil, err
	}
	return z.IOReadCloser(), nil
}
