package decompress

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"

	"github.com/anchore/go-lzo"
)

// lzopMagic begins a file of lzop, which kbuild compresses with; it is framed
// LZO1X, as lib/decompress_unlzo.c reads it.
const lzopMagic = "\x89LZO\x00\r\n\x1a\n"

var errLZOP = errors.New("damaged lzop frame")

// lzopReader decompresses block after block.
type lzopReader struct {
	r     io.Reader
	flags uint32
	rest  []byte // of the current block
}

// Header flags: which checksums follow a block's sizes, and optional parts.
const (
	lzopAdler32D = 0x0001
	lzopAdler32C = 0x0002
	lzopExtra    = 0x0040
	lzopCRC32D   = 0x0100
	lzopCRC32C   = 0x0200
	lzopFilter   = 0x0800
	// lzopBlock is the most that a block may hold (lzop's MAX_BLOCK_SIZE).
	lzopBlock = 64 << 20
)

func openLZOP(r *bufio.Reader) (io.ReadCloser, error) {
	// Magic, version, library version, version to extract, method, level.
	head := make([]byte, len(lzopMagic)+2+2+2+1+1)
	if _, err := io.ReadFull(r, head); err != nil {
		return nil, errLZOP
	}
	if binary.BigEndian.Uint16(head[len(lzopMagic):]) < 0x0940 {
		return nil, errors.New("lzop format older than 0.94")
	}
	z := &lzopReader{r: r}
	var err error
	if z.flags, err = z.word(); err != nil {
		return nil, err
	}
	if z.flags&(lzopExtra|lzopFilter) != 0 {
		return nil, errors.New("lzop with a filter, which no kernel has")
	}
	// Mode, two words of time, and the length of a file name.
	tail := make([]byte, 4+4+4+1)
	if _, err := io.ReadFull(r, tail); err != nil {
		return nil, errLZOP
	}
	// The name, and the header's own checksum.
	if _, err := io.CopyN(io.Discard, r, int64(tail[12])+4); err != nil {
		return nil, errLZOP
	}
	return io.NopCloser(z), nil
}

func (z *lzopReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	if len(z.rest) == 0 {
		if err := z.next(); err != nil {
			return 0, err
		}
	}
	n := copy(p, z.rest)
	z.rest = z.rest[n:]
	return n, nil
}

// next decompresses a block: its two sizes, checksums of either side as the
// flags say, and the data, stored plainly where it did not shrink.
func (z *lzopReader) next() error {
	size, err := z.word()
	if err != nil {
		return err
	}
	if size == 0 {
		return io.EOF
	}
	packed, err := z.word()
	if err != nil {
		return err
	}
	if size > lzopBlock || packed > size {
		return errLZOP
	}
	sums := []uint32{lzopAdler32D, lzopCRC32D}
	if packed < size {
		sums = append(sums, lzopAdler32C, lzopCRC32C)
	}
	for _, flag := range sums {
		if z.flags&flag != 0 {
			if _, err := z.word(); err != nil {
				return err
			}
		}
	}
	block := make([]byte, packed)
	if _, err := io.ReadFull(z.r, block); err != nil {
		return errLZOP
	}
	if packed < size {
		content := make([]byte, size)
		n, err := lzo.Decompress(block, content)
		if err != nil || n != len(content) {
			return errLZOP
		}
		block = content
	}
	z.rest = block
	return nil
}

func (z *lzopReader) word() (uint32, error) {
	var b [4]byte
	if _, err := io.ReadFull(z.r, b[:]); err != nil {
		return 0, errLZOP
	}
	return binary.BigEndian.Uint32(b[:]), nil
}
