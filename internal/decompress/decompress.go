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
	"github.com/ulikunitz/xz"
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
}

// Reader returns what is inside r, and the compression's name. Where r is not
// compressed the name is empty, and what is returned reads r itself. How much
// comes out is the caller's to bound.
func Reader(r *bufio.Reader) (inside io.ReadCloser, name string, err error) {
	start, err := r.Peek(8)
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

func openXZ(r *bufio.Reader) (io.ReadCloser, error) {
	// The library takes whatever dictionary a block asks for, up to 4 GiB.
	start, err := r.Peek(64)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	if size := xzDictionary(start); size > maxWindow {
		return nil, fmt.Errorf("it needs a dictionary of %d MiB, and %d are allowed", size>>20, maxWindow>>20)
	}
	d, err := xz.NewReader(r)
	if err != nil {
		return nil, err
	}
	return io.NopCloser(d), nil
}

// xzDictionary is the size in bytes of the LZMA2 dictionary that the first
// block of an xz stream asks for, or 0 where the stream is too short or too
// unusual to tell (section 3.1 and 5.3.1 of the .xz file format).
func xzDictionary(stream []byte) int64 {
	const streamHeader = 12
	if len(stream) < streamHeader+2 {
		return 0
	}
	flags := stream[streamHeader+1]
	rest := stream[streamHeader+2:]
	for _, present := range []byte{0x40, 0x80} { // compressed and uncompressed size
		for flags&present != 0 && len(rest) > 0 {
			last := rest[0]&0x80 == 0
			rest = rest[1:]
			if last {
				break
			}
		}
	}
	// One filter, LZMA2 (0x21), with one byte of properties.
	if flags&3 != 0 || len(rest) < 3 || rest[0] != 0x21 || rest[1] != 1 {
		return 0
	}
	bits := rest[2]
	if bits >= 40 {
		return 4<<30 - 1
	}
	return int64(2|bits&1) << (bits/2 + 11)
}
