package decompress

import (
	"bufio"
	"bytes"
	"compress/bzip2"
	"compress/gzip"
	"errors"
	"fmt"
	"io"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/therootcompany/xz"
	"github.com/ulikunitz/xz/lzma"
)

// maxWindow bounds the memory that a stream can make a decompressor take, in
// bytes. It is what `zstd --ultra -22` and twice what `xz -9` ask for.
const maxWindow = 128 << 20

var magics = []struct {
	name  string
	magic string
	open  func(*bufio.Reader) (io.ReadCloser, error)
}{
	{"zstd", "\x28\xb5\x2f\xfd", openZstd},
	{"xz", "\xfd7zXZ\x00", openXZ},
	{"gzip", "\x1f\x8b", openGzip},
	{"bzip2", "BZh", openBzip2},
	{"lz4", "\x02\x21\x4c\x18", openLZ4}, // the legacy frame, which kernels use
	{"lzo", lzopMagic, openLZOP},
	{"lzma", "\x5d\x00\x00", openLZMA},
}

// Reader returns what is inside r, and the compression's name. Where r is not
// compressed the name is empty, and what is returned reads r itself. How much
// comes out is the caller's to bound.
func Reader(r *bufio.Reader) (inside io.ReadCloser, name string, err error) {
	start, err := r.Peek(len(lzopMagic))
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, "", err
	}
	for _, m := range magics {
		if !bytes.HasPrefix(start, []byte(m.magic)) {
			continue
		}
		inside, err = m.open(r)
		if err != nil {
			return nil, m.name, fmt.Errorf("%s: %w", m.name, err)
		}
		return inside, m.name, nil
	}
	return io.NopCloser(r), "", nil
}

func openZstd(r *bufio.Reader) (io.ReadCloser, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(maxWindow))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

func openGzip(r *bufio.Reader) (io.ReadCloser, error) { return gzip.NewReader(r) }

func openBzip2(r *bufio.Reader) (io.ReadCloser, error) {
	return io.NopCloser(bzip2.NewReader(r)), nil
}

// openXZ is of a library that knows the branch filters, which kernels are
// compressed with (scripts/xz_wrap.sh).
func openXZ(r *bufio.Reader) (io.ReadCloser, error) {
	d, err := xz.NewReader(r, maxWindow)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(d), nil
}

// openLZ4 reads with one goroutine, the caller's, which ends when that does.
func openLZ4(r *bufio.Reader) (io.ReadCloser, error) {
	d := lz4.NewReader(r)
	return io.NopCloser(d), d.Apply(lz4.ConcurrencyOption(1))
}

func openLZMA(r *bufio.Reader) (io.ReadCloser, error) {
	d, err := lzma.ReaderConfig{DictCap: maxWindow}.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(d), nil
}
