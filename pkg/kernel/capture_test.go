package kernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"

	"github.com/k8sp/cuda/internal/untar"
)

func TestCapture(t *testing.T) {
	first, second := capture(t, recorded(t, "debian")), capture(t, recorded(t, "debian"))
	if !bytes.Equal(first, second) {
		t.Error("two captures of one host differ")
	}
	var names []string
	archive := tar.NewReader(bytes.NewReader(first))
	for {
		h, err := archive.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		if h.Typeflag != tar.TypeReg || h.Mode != 0o644 || h.Uid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s says more than its content: %+v", h.Name, h)
		}
		names = append(names, h.Name)
	}
	want := []string{
		"boot/config-6.1.0-56-amd64",
		"etc/os-release",
		"lib/modules/6.1.0-56-amd64/build/Module.symvers",
		"lib/modules/6.1.0-56-amd64/kernel.symvers",
		"lib/modules/6.1.0-56-amd64/kernel/lib/crc7.ko",
		"proc/sys/kernel/osrelease",
		"proc/version",
		"usr/lib/os-release",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestCaptureIsTheHost is the promise of a capture: nothing that detect knows
// of a host is lost in it.
func TestCaptureIsTheHost(t *testing.T) {
	for _, host := range hosts {
		t.Run(host, func(t *testing.T) {
			live := recorded(t, host)
			root, err := OpenRootArchive(t.Context(), writeFile(t, capture(t, live)), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			want, err := detect(t.Context(), live, DetectOptions{}, "4.19")
			if err != nil {
				t.Fatal(err)
			}
			got, err := detect(t.Context(), root, DetectOptions{}, "4.19")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-host +capture:\n%s", diff)
			}
			if again := capture(t, root); !bytes.Equal(again, capture(t, live)) {
				t.Error("a capture of the capture differs")
			}
		})
	}
}

func TestCaptureNeedsAKernel(t *testing.T) {
	root, err := OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, Capture(t.Context(), root, io.Discard), "detect: no kernel release under "+root.Dir()+
		": neither proc/sys/kernel/osrelease nor proc/version is there. "+
		"Run where /proc is the host kernel's, or name a recorded host with --host-root.")
}

func TestOpenRootArchiveUnpacksWhatPeopleHave(t *testing.T) {
	plain := capture(t, recorded(t, "flatcar"))
	var gz, zs bytes.Buffer
	z := gzip.NewWriter(&gz)
	compress(t, z, plain)
	s, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	compress(t, s, plain)
	for name, data := range map[string][]byte{"tar": plain, "gz": gz.Bytes(), "zst": zs.Bytes()} {
		root, err := OpenRootArchive(t.Context(), writeFile(t, data), t.TempDir())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if text, err := root.ReadFile("proc/sys/kernel/osrelease"); err != nil || string(text) != "6.12.58-flatcar\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		if root.Live() || !root.Mounted() {
			t.Errorf("%s: live %v, mounted %v", name, root.Live(), root.Mounted())
		}
	}
}

func TestOpenRootArchiveRefuses(t *testing.T) {
	var climbing bytes.Buffer
	w := tar.NewWriter(&climbing)
	if err := w.WriteHeader(&tar.Header{Name: "../escaped", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1}); err != nil {
		t.Fatal(err)
	}
	compress(t, w, []byte("x"))
	whole := capture(t, recorded(t, "debian"))
	for name, data := range map[string][]byte{
		"empty":     nil,
		"truncated": whole[:len(whole)/2],
		"no tar":    bytes.Repeat([]byte("hello "), 200),
		"climbing":  climbing.Bytes(),
	} {
		t.Run(name, func(t *testing.T) {
			path, scratch := writeFile(t, data), t.TempDir()
			_, err := OpenRootArchive(t.Context(), path, scratch)
			if err == nil || !strings.HasPrefix(err.Error(), "unpack "+path+": ") {
				t.Errorf("got %v", err)
			}
			if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
				t.Errorf("left in scratch: %v, %v", left, err)
			}
			var refused *untar.Error
			if name == "climbing" && !errors.As(err, &refused) {
				t.Errorf("not for its member: %v", err)
			}
		})
	}
}

func capture(t *testing.T, root *Root) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Capture(t.Context(), root, &b); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t *testing.T, w io.WriteCloser, data []byte) {
	t.Helper()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}
