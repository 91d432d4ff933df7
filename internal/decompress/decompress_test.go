package decompress

import (
	"bufio"
	"bytes"
	"compress/gzip"
	"io"
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

// The library would take whatever a block's header asks for.
func TestReaderBoundsXZ(t *testing.T) {
	data := pack(t, xz.NewWriter, "small")
	const property = 12 + 4 // stream header; block size, flags, filter and its length
	data[property] = 40     // 4 GiB - 1
	_, name, err := Reader(bufio.NewReader(bytes.NewReader(data)))
	if name != "xz" || err == nil || !strings.Contains(err.Error(), "dictionary") {
		t.Errorf("%s: %v", name, err)
	}
}
