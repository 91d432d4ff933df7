package makeself

import (
	"context"
	"crypto/md5"
	"encoding/hex"
	"fmt"
	"io"

	"github.com/k8sp/cuda/internal/makeself/cksum"
)

// Archive is an open self-extracting file.
type Archive struct {
	Header

	file io.ReaderAt
	size int64
}

// New reads the header of a self-extracting file of the given size in bytes.
func New(file io.ReaderAt, size int64) (*Archive, error) {
	h, err := ParseHeader(io.NewSectionReader(file, 0, size))
	if err != nil {
		return nil, err
	}
	return &Archive{Header: h, file: file, size: size}, nil
}

// ChecksumError is a file that is not the one its header was written for.
type ChecksumError struct {
	// Name is the checksum, "MD5" or "CRC" (of cksum(1)).
	Name string
	// Want is what the header says and Got what the file has.
	Want, Got string
}

// Error names the checksum and its two values.
func (e *ChecksumError) Error() string {
	return fmt.Sprintf("its %s is %s and its header says %s", e.Name, e.Got, e.Want)
}

// Verify reads the file once from its first byte to its last, and compares its
// checksums with those that the header states, if it states any. All that is
// read is written to also, unless that is nil, so that a caller can take a
// digest of its own in the same pass. A file that differs is a [ChecksumError].
func (a *Archive) Verify(ctx context.Context, also io.Writer) error {
	if also == nil {
		also = io.Discard
	}
	crc, sum := new(cksum.Sum), md5.New()
	r := &contextReader{ctx, io.NewSectionReader(a.file, 0, a.size)}
	buf := make([]byte, 1<<20)
	if _, err := io.CopyBuffer(onlyWriter{also}, io.LimitReader(r, a.ChecksumOffset), buf); err != nil {
		return err
	}
	if _, err := io.CopyBuffer(io.MultiWriter(crc, sum, also), r, buf); err != nil {
		return err
	}
	if got := hex.EncodeToString(sum.Sum(nil)); a.MD5 != "" && got != a.MD5 {
		return &ChecksumError{Name: "MD5", Want: a.MD5, Got: got}
	}
	if got := crc.Sum32(); a.HasCRC && got != a.CRC {
		return &ChecksumError{Name: "CRC", Want: fmt.Sprint(a.CRC), Got: fmt.Sprint(got)}
	}
	return nil
}

// Payload is the tar stream. Reading it ends with ctx's error when ctx does.
// The caller closes it.
func (a *Archive) Payload(ctx context.Context) (io.ReadCloser, error) {
	return unpacked(&contextReader{ctx, io.NewSectionReader(a.file, a.PayloadOffset, a.size-a.PayloadOffset)})
}

// contextReader stops a long read when the job is interrupted.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (c *contextReader) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	return c.r.Read(p)
}

// onlyWriter hides a ReaderFrom, which would ignore the buffer given.
type onlyWriter struct{ io.Writer }
