package makeself

import (
	"bufio"
	"errors"
	"fmt"
	"io"

	"github.com/k8sp/cuda/internal/decompress"
)

// unpacked returns the tar stream inside a payload, whose compression shows
// in its first bytes: NVIDIA's were gzip'ed, then xz, and are zstd since 530.
func unpacked(r io.Reader) (io.ReadCloser, error) {
	br := bufio.NewReaderSize(r, 256<<10)
	start, err := br.Peek(512)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, err
	}
	rc, name, err := decompress.Reader(br)
	switch {
	case err != nil:
		return nil, fmt.Errorf("compressed payload: %w", err)
	case name != "" || isTar(start):
		return rc, nil
	case len(start) == 0:
		return nil, fmt.Errorf("payload: %w", io.ErrUnexpectedEOF)
	}
	return nil, fmt.Errorf("%w: its payload begins with % x, which is no compression known", ErrFormat, start[:min(len(start), 8)])
}

func isTar(start []byte) bool {
	return len(start) >= 263 && string(start[257:262]) == "ustar"
}
