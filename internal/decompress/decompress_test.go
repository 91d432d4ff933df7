package decompress

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"encoding/binary"
	"hash/crc32"
	"io"
	"os"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"
)

// pack is text as a compressor writes it.
func pack[W io.WriteCloser](t *testing.T, open func(io.Writer) (W, error), text string) []byte {
	t.Helper()
	var b bytes.Buffer
	w, err := open(&b)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.WriteString(w, text); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func TestReader(t *testing.T) {
	const text = "as it was"
	for name, data := range map[string][]byte{
		"":     []byte(text),
		"gzip": pack(t, func(w io.Writer) (*gzip.Writer, error) { return gzip.NewWriter(w), nil }, text),
		"xz":   pack(t, xz.NewWriter, text),
		"zstd": pack(t, func(w io.Writer) (*zstd.Encoder, error) { return zstd.NewWriter(w) }, text),
		// `printf 'as it was' | bzip2`
		"bzip2": []byte("\x42\x5a\x68\x39\x31\x41\x59\x26\x53\x59\x83\x43\x0f\x07\x00\x00\x01\x11\x80\x40\x00\x20\x20\x0c\x80\x20\x00\x21\x80\x0c\x02\x55\xa5\x19\xf1\x77\x24\x53\x85\x09\x08\x34\x30\xf0\x70"),
	} {
		t.Run(name, func(t *testing.T) {
			inside, got, err := Reader(bufio.NewReader(bytes.NewReader(data)))
			if err != nil {
				t.Fatal(err)
			}
			defer inside.Close()
			out, err := io.ReadAll(inside)
			if err != nil || string(out) != text || got != name {
				t.Errorf("%q of %q: %v", out, got, err)
			}
		})
	}
}

func TestReaderOfNothing(t *testing.T) {
	inside, name, err := Reader(bufio.NewReader(strings.NewReader("")))
	if err != nil || name != "" {
		t.Fatalf("%q %v", name, err)
	}
	if out, err := io.ReadAll(inside); len(out) != 0 || err != nil {
		t.Errorf("%q %v", out, err)
	}
}

// What a block's header asks for is bounded.
func TestReaderBoundsXZ(t *testing.T) {
	data := pack(t, xz.NewWriter, "small")
	const header, size = 12, 12 // behind the stream's; block size, flags, filter, properties, CRC
	block := data[header : header+size]
	block[4] = 40 // 4 GiB - 1
	binary.LittleEndian.PutUint32(block[size-4:], crc32.ChecksumIEEE(block[:size-4]))
	inside, name, err := Reader(bufio.NewReader(bytes.NewReader(data)))
	if err == nil {
		_, err = io.ReadAll(inside)
	}
	if name != "xz" || err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("%s: %v", name, err)
	}
}

var kernelFiles = map[string]string{
	"gz": "gzip", "bz2": "bzip2", "lzma": "lzma", "xz": "xz", "lzo": "lzo", "lz4": "lz4", "zst": "zstd",
}

// Each file is testdata/README's text as a kernel's build compresses it, up to
// the four bytes that it appends to all but gzip's.
func TestReaderOfKernels(t *testing.T) {
	want := strings.Repeat("\xe8\x00\x10\x00\x00 a call, as x86 code has them\n", 200)
	for file, name := range kernelFiles {
		t.Run(name, func(t *testing.T) {
			data, err := os.ReadFile("testdata/payload." + file)
			if err != nil {
				t.Fatal(err)
			}
			if name != "gzip" {
				data = data[:len(data)-4]
			}
			inside, got, err := Reader(bufio.NewReader(bytes.NewReader(data)))
			if err != nil || got != name {
				t.Fatalf("%q, %v", got, err)
			}
			defer inside.Close()
			if out, err := io.ReadAll(inside); err != nil || string(out) != want {
				t.Errorf("%d bytes, %v", len(out), err)
			}
			cut, _, err := Reader(bufio.NewReader(bytes.NewReader(data[:len(data)*2/3])))
			if err == nil {
				defer cut.Close()
				_, err = io.ReadAll(cut)
			}
			if err == nil {
				t.Error("no error when it is cut short")
			}
		})
	}
}

func FuzzReader(f *testing.F) {
	for file := range kernelFiles {
		data, err := os.ReadFile("testdata/payload." + file)
		if err != nil {
			f.Fatal(err)
		}
		f.Add(data)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		inside, _, err := Reader(bufio.NewReader(bytes.NewReader(data)))
		if err != nil {
			return
		}
		defer inside.Close()
		_, _ = io.CopyN(io.Discard, inside, 1<<20)
	})
}

// FuzzRoundTrip reads what compressors make of any bytes.
func FuzzRoundTrip(f *testing.F) {
	f.Add([]byte(strings.Repeat("as it was ", 50)))
	f.Add([]byte("\x1f\x8b as if compressed"))
	frames, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1))
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, text []byte) {
		if len(text) == 0 {
			return // of which zstd makes no frame
		}
		for name, data := range map[string][]byte{
			"gzip": pack(t, func(w io.Writer) (*gzip.Writer, error) { return gzip.NewWriterLevel(w, gzip.BestSpeed) }, string(text)),
			"zstd": frames.EncodeAll(text, nil),
		} {
			inside, got, err := Reader(bufio.NewReader(bytes.NewReader(data)))
			if err != nil || got != name {
				t.Fatalf("%s: %q, %v", name, got, err)
			}
			out, err := io.ReadAll(inside)
			_ = inside.Close()
			if err != nil || !bytes.Equal(out, text) {
				t.Errorf("%s: %d bytes, %v, want %d", name, len(out), err, len(text))
			}
		}
	})
}
