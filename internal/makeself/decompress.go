package makeself

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

// maxWindow bounds the memory that a payload can make a decompressor take, in
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

// decompress returns the tar stream inside a payload, whose compression shows
// in its first bytes: NVIDIA's were gzip'ed, then xz, and are zstd since 530.
func decompress(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	start, err := br.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	for _, m := range magics {
		if !bytes.HasPrefix(start, []byte(m.magic)) {
			continue
		}
		rc, err := m.open(br)
		if err != nil {
			return nil, fmt.Errorf("%s payload: %w", m.name, err)
		}
		return rc, nil
	}
	if isTar(start) {
		return io.NopCloser(br), nil
	}
	if len(start) == 0 {
		return nil, fmt.Errorf("payload: %w", io.ErrUnexpectedEOF)
	}
	return nil, fmt.Errorf("%w: its payload begins with % x, which is no compression known", ErrFormat, start[:min(len(start), 8)])
}

func isTar(start []byte) bool {
	return len(start) >= 263 && string(start[257:262]) == "ustar"
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
