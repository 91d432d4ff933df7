// Package makeselftest writes self-extracting files in the layout of NVIDIA's
// branch of makeself, for tests of what reads them.
package makeselftest

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"crypto/md5"
	"fmt"
	"io"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/k8sp/cuda/internal/makeself/cksum"
)

// Run is a self-extracting file. Its zero value is one of no product at all,
// with an empty payload.
type Run struct {
	Label, Version, Arch, TargetDir string
	// Script is put after the assignments.
	Script string
	// Decompressor is the program embedded between script and payload.
	Decompressor []byte
	// Payload is the compressed tar.
	Payload []byte
	// NoChecksums leaves them at zero, as the file states before they are
	// known.
	NoChecksums bool
}

// Bytes is the whole file.
func (r Run) Bytes() []byte {
	stub := func(skip, skipDecompress, sizeDecompress int) []byte {
		var b bytes.Buffer
		fmt.Fprintf(&b, "skip=%d\nskip_decompress=%d\nsize_decompress=%d\n", skip, skipDecompress, sizeDecompress)
		fmt.Fprintf(&b, "label=\"%s\"\nversion_string=%s\npkg_version=0\nscript=./nvidia-installer\n", r.Label, r.Version)
		fmt.Fprintf(&b, "targetdir=%s\nscriptargs=\"\"\nkeep=n\nTMPROOT=${TMPDIR:=/tmp}\n", r.TargetDir)
		fmt.Fprintf(&b, "TARGET_OS=\"Linux\"\nTARGET_ARCH=\"%s\"\n\n", r.Arch)
		b.WriteString(r.Script)
		// What a careless reader would take for an assignment.
		b.WriteString("version_string=0\nskip=1\nexit $res\n\n")
		return b.Bytes()
	}
	decompressor := r.Decompressor
	if decompressor != nil {
		decompressor = append(bytes.Clone(decompressor), '\n')
	}
	const before = 3 // lines ahead of the stub's
	first := before + bytes.Count(stub(0, 0, 0), []byte("\n")) + 1
	lines := bytes.Count(decompressor, []byte("\n"))
	body := stub(first+lines, first, lines)
	body = append(body, decompressor...)
	body = append(body, r.Payload...)
	var crc cksum.Sum
	_, _ = crc.Write(body)
	sum, digest := crc.Sum32(), md5.Sum(body)
	if r.NoChecksums {
		sum, digest = 0, [16]byte{}
	}
	return append(fmt.Appendf(nil, "#! /bin/sh\nCRCsum=%010d\nMD5=%x\n", sum, digest), body...)
}

// Member is a file of a tar, or whatever its Type says.
type Member struct {
	Name, Content, Link string
	Mode                int64 // 0644 unless set
	Type                byte  // a file unless set
}

// Tar is a tar of the members, in their order.
func Tar(t testing.TB, members ...Member) []byte {
	t.Helper()
	var b bytes.Buffer
	w := tar.NewWriter(&b)
	for _, m := range members {
		h := &tar.Header{Name: m.Name, Linkname: m.Link, Mode: m.Mode, Typeflag: m.Type, Size: int64(len(m.Content))}
		if h.Mode == 0 {
			h.Mode = 0o644
		}
		if h.Typeflag == 0 {
			h.Typeflag = tar.TypeReg
		}
		if err := w.WriteHeader(h); err != nil {
			t.Fatal(err)
		}
		if _, err := io.WriteString(w, m.Content); err != nil {
			t.Fatal(err)
		}
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// Gzip compresses with gzip, as NVIDIA did until 2012.
func Gzip(t testing.TB, data []byte) []byte {
	return pack(t, data, func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriter(w), nil })
}

// XZ compresses with xz and without its checksums, as NVIDIA did until 525.
func XZ(t testing.TB, data []byte) []byte {
	return pack(t, data, func(w io.Writer) (io.WriteCloser, error) {
		return xz.WriterConfig{NoCheckSum: true}.NewWriter(w)
	})
}

// Zstd compresses with zstd, as NVIDIA has done since 530.
func Zstd(t testing.TB, data []byte) []byte {
	return pack(t, data, func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) })
}

func pack(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
