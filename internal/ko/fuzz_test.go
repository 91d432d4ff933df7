package ko

import (
	"bytes"
	"compress/gzip"
	"debug/elf"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/ulikunitz/xz"

	"github.com/k8sp/cuda/internal/testkit"
)

// debians is a module as Debian builds and signs it.
const debians = "../../pkg/kernel/testdata/rootfs-debian/lib/modules/6.1.0-56-amd64/kernel/lib/crc7.ko"

// recordings are the modules that are recorded anywhere in this repository.
func recordings(t testing.TB) [][]byte {
	t.Helper()
	var list [][]byte
	for _, pattern := range []string{debians, "../../pkg/modules/testdata/ko/*.ko", "testdata/*.ko"} {
		paths, err := filepath.Glob(pattern)
		if err != nil || len(paths) == 0 {
			t.Fatal(pattern, err)
		}
		for _, path := range paths {
			data, err := os.ReadFile(path)
			if err != nil {
				t.Fatal(err)
			}
			list = append(list, data)
		}
	}
	return list
}

func FuzzParse(f *testing.F) {
	for _, data := range recordings(f) {
		f.Add(data)
		f.Add(data[:len(data)/2])
	}
	f.Add(overlapping("___ksymtab+x", 16, 64))
	f.Add(overlapping(".comment", 16, 64))
	f.Fuzz(func(t *testing.T, data []byte) {
		var m File
		var err error
		taken := testkit.Allocated(func() { m, err = Parse(bytes.NewReader(data), int64(len(data))) })
		// debug/elf reads the program headers, which may claim to be many and
		// large, in pieces of 10 MiB.
		if taken > uint64(16<<20+256*len(data)) {
			t.Errorf("%d bytes taken for %d bytes", taken, len(data))
		}
		var format *FormatError
		if err != nil && !errors.As(err, &format) {
			t.Errorf("error %v of type %T", err, err)
		}
		if err != nil {
			return
		}
		again, err := Parse(bytes.NewReader(data), int64(len(data)))
		if err != nil || !cmp.Equal(m, again) {
			t.Errorf("read again: %v, %s", err, cmp.Diff(m, again))
		}
		for i, e := range m.Exports {
			if e.Name == "" && i > 0 || i > 0 && m.Exports[i-1].Name >= e.Name {
				t.Errorf("exports %+v", m.Exports)
			}
		}
		// A symbol of 24 bytes names at most maxName, twice for an export.
		if have, allowed := weight(m), 256*len(data); have > allowed {
			t.Errorf("%d bytes of strings out of %d bytes", have, len(data))
		}
	})
}

// weight is how many bytes of strings a file's description has.
func weight(m File) (n int) {
	for _, tag := range m.Info {
		n += len(tag.Key) + len(tag.Value)
	}
	for _, i := range m.Imports {
		n += len(i.Name)
	}
	for _, e := range m.Exports {
		n += len(e.Name) + len(e.Namespace)
	}
	for _, v := range append(m.Versions, m.ExtendedVersions...) {
		n += len(v.Name)
	}
	for _, r := range m.Relocations {
		n += len(r.Section)
	}
	for _, s := range append(append(m.Common, m.Compilers...), m.Debug...) {
		n += len(s)
	}
	return n
}

func FuzzModinfo(f *testing.F) {
	for _, data := range recordings(f) {
		file, err := elf.NewFile(bytes.NewReader(data))
		if err != nil {
			f.Fatal(err)
		}
		info, err := file.Section(".modinfo").Data()
		if err != nil {
			f.Fatal(err)
		}
		f.Add(info)
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		list := tags(data)
		if len(list) > bytes.Count(data, []byte{'='}) {
			t.Errorf("%d tags", len(list))
		}
		var written []byte
		for _, tag := range list {
			if strings.ContainsAny(tag.Key, "=\x00") || strings.Contains(tag.Value, "\x00") || !utf8.ValidString(tag.Key+tag.Value) {
				t.Errorf("tag %q", tag)
			}
			written = append(written, tag.Key+"="+tag.Value+"\x00"...)
		}
		if again := tags(written); !cmp.Equal(list, again) {
			t.Errorf("-read +read again:\n%s", cmp.Diff(list, again))
		}
	})
}

// FuzzCompressed reads files that may be compressed, and what any bytes give
// when a module's build has compressed them.
func FuzzCompressed(f *testing.F) {
	for _, data := range recordings(f) {
		f.Add(data)
		for _, pack := range compressors {
			f.Add(packed(f, data, pack))
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		var format *FormatError
		if _, err := read(bytes.NewReader(data), int64(len(data))); err != nil && !errors.As(err, &format) {
			t.Errorf("error %v of type %T", err, err)
		}
		// An xz writer takes a thousand times as long to make as a file to read.
		file := packed(t, data, compressors["gzip"])
		plain, plainErr := Parse(bytes.NewReader(data), int64(len(data)))
		got, err := read(bytes.NewReader(file), int64(len(file)))
		if (err == nil) != (plainErr == nil) || err != nil && err.Error() != plainErr.Error() || !cmp.Equal(plain, got) {
			t.Errorf("compressed: %v, plain: %v", err, plainErr)
		}
	})
}

// compressors are those of `make modules_install`.
var compressors = map[string]func(io.Writer) (io.WriteCloser, error){
	"gzip": func(w io.Writer) (io.WriteCloser, error) { return gzip.NewWriterLevel(w, gzip.BestSpeed) },
	"xz":   func(w io.Writer) (io.WriteCloser, error) { return xz.WriterConfig{CheckSum: xz.CRC32}.NewWriter(w) },
	"zstd": func(w io.Writer) (io.WriteCloser, error) { return zstd.NewWriter(w) },
}

func packed(t testing.TB, data []byte, open func(io.Writer) (io.WriteCloser, error)) []byte {
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
