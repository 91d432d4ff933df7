package publish

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// signedBy makes signatures that say by whom and of what they are.
func signedBy(name string) Sign {
	return func(text []byte) ([]byte, error) { return []byte(name + " signs " + string(text)), nil }
}

// trusts takes the signatures of signedBy.
func trusts(name string) Trust {
	return func(text, signature []byte) error {
		if want, _ := signedBy(name)(text); string(want) != string(signature) {
			return Untrusted("not by %s", name)
		}
		return nil
	}
}

// TestSigned has the same content be published with one signature after another: each
// becomes what is published, in a folder of its own, and the one before goes.
func TestSigned(t *testing.T) {
	f := shelf(t)
	publish(t, f)
	unsigned, before := content(t, f), show(t, f.Link)
	if _, err := ReadIndex(led(t, f.Link), f.Index, 100, trusts("me")); err == nil || !strings.Contains(err.Error(), "manifest.json is not signed: there is no manifest.json.p7s") {
		t.Errorf("error %v", err)
	}
	for _, name := range []string{"me", "another", "me"} {
		f.Sign = signedBy(name)
		old := content(t, f)
		publish(t, f)
		now := content(t, f)
		if now == old || !strings.HasPrefix(now, unsigned) && !strings.HasPrefix(unsigned, now) {
			t.Errorf("signed by %s it is in %s, and was in %s", name, now, old)
		}
		if text, err := ReadIndex(led(t, f.Link), f.Index, 100, trusts(name)); err != nil || string(text) != string(f.Text) {
			t.Errorf("%q, %v", text, err)
		}
		left, err := os.ReadDir(filepath.Dir(f.Link))
		if err != nil || len(left) != 2 {
			t.Errorf("beside the link are %v, %v", left, err)
		}
		if got := show(t, f.Link); len(got) != len(before)+1 || !slices.Contains(got, "-rw-r--r-- manifest.json.p7s") {
			t.Errorf("published %q", got)
		}
		// What is asked for is there, and what nobody asked to be signed may be.
		f.Step = func(name string) error { t.Errorf("step %s", name); return nil }
		publish(t, f)
		f.Sign = nil
		publish(t, f)
		if got := content(t, f); got != now {
			t.Errorf("again it is in %s, and was in %s", got, now)
		}
		f.Step = nil
	}
}

// content is the folder that the link leads to.
func content(t *testing.T, f Folder) string {
	t.Helper()
	name, err := os.Readlink(f.Link)
	if err != nil {
		t.Fatal(err)
	}
	return name
}

func TestSignFails(t *testing.T) {
	f, before := replacement(t)
	stop := errors.New("stop")
	f.Sign = func([]byte) ([]byte, error) { return nil, stop }
	if err := f.Publish(t.Context()); !errors.Is(err, stop) || !strings.Contains(err.Error(), "sign manifest.json") {
		t.Errorf("error %v", err)
	}
	if got := show(t, f.Link); !slices.Equal(got, before) {
		t.Errorf("published %q", got)
	}
}

// TestReadIndex believes nothing of what nobody has signed.
func TestReadIndex(t *testing.T) {
	for name, tt := range map[string]struct {
		index, signature string // "" is no file
		want             string
	}{
		"signed":             {"{}", "me signs {}", ""},
		"changed":            {"{ }", "me signs {}", "manifest.json.p7s: not by me"},
		"of the least size":  {"{}", "me", "not by me"},
		"unsigned":           {"{}", "", "there is no manifest.json.p7s"},
		"too large":          {"{}", strings.Repeat("x", MaxSignature+1), "more than 64 KiB"},
		"as large as can be": {"{}", strings.Repeat("x", MaxSignature), "not by me"},
	} {
		dir := t.TempDir()
		for file, text := range map[string]string{"manifest.json": tt.index, "manifest.json.p7s": tt.signature} {
			if text == "" {
				continue
			}
			if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		text, err := ReadIndex(dir, "manifest.json", 10, trusts("me"))
		var untrusted *UntrustedError
		if tt.want == "" && (err != nil || string(text) != tt.index) || tt.want != "" && (!errors.As(err, &untrusted) || !strings.Contains(err.Error(), tt.want) || text != nil) {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		if text, err := ReadIndex(dir, "manifest.json", 10, nil); err != nil || string(text) != tt.index {
			t.Errorf("%s, with no trust asked for: %q, %v", name, text, err)
		}
	}
	if _, err := ReadIndex(t.TempDir(), "manifest.json", 10, trusts("me")); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("of no index: %v", err)
	}
	// A cause that is not the signature's is told as it is.
	broken := errors.New("broken")
	dir := t.TempDir()
	for _, file := range []string{"manifest.json", "manifest.json.p7s"} {
		if err := os.WriteFile(filepath.Join(dir, file), []byte("0123456789abc"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := ReadIndex(dir, "manifest.json", 10, func([]byte, []byte) error { return broken }); err != broken {
		t.Errorf("error %v", err)
	}
	if text, err := ReadIndex(dir, "manifest.json", 10, nil); err != nil || len(text) != 11 {
		t.Errorf("%d bytes, %v: one more than the limit tells that there are more", len(text), err)
	}
	if err := os.Remove(filepath.Join(dir, "manifest.json.p7s")); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(dir, "manifest.json.p7s"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadIndex(dir, "manifest.json", 10, trusts("me")); err == nil {
		t.Error("a folder is taken for a signature")
	}
}

// TestCopy copies what is as it is described, whatever the umask, and nothing else.
func TestCopy(t *testing.T) {
	f := shelf(t)
	publish(t, f)
	to := t.TempDir()
	if err := os.Chmod(to, 0o700); err != nil {
		t.Fatal(err)
	}
	if err := Copy(t.Context(), led(t, f.Link), f.Files, to); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"drwxr-xr-x .", "drwxr-xr-x usr", "drwxr-xr-x usr/bin", "-rwxr-xr-x usr/bin/nvidia-smi", "drwxr-xr-x usr/lib64",
		"Lrwxrwxrwx usr/lib64/libcuda.so.1 -> libcuda.so.535", "-rw-r--r-- usr/lib64/libcuda.so.535",
	}
	if got := show(t, to); !slices.Equal(got, want) {
		t.Errorf("copied %q", got)
	}
	for name, spoil := range map[string]func(path string) error{
		"changed": func(path string) error { return os.WriteFile(path, []byte("LIBRARY"), 0o644) },
		"endless": func(path string) error { return errors.Join(os.Remove(path), os.Symlink("/dev/zero", path)) },
		"gone":    os.Remove,
	} {
		if err := spoil(filepath.Join(f.Link, "usr/lib64/libcuda.so.535")); err != nil {
			t.Fatal(err)
		}
		to := t.TempDir()
		if err := Copy(t.Context(), led(t, f.Link), f.Files, to); err == nil {
			t.Errorf("%s: it is copied", name)
		}
		if info, err := os.Stat(filepath.Join(to, "usr/lib64/libcuda.so.535")); err == nil && info.Size() > 8 {
			t.Errorf("%s: %d bytes are copied", name, info.Size())
		}
		if err := os.RemoveAll(filepath.Join(f.Link, "usr/lib64/libcuda.so.535")); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(f.Link, "usr/lib64/libcuda.so.535"), []byte("library"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"../x", "/x", "a//b"} {
		if err := Copy(t.Context(), led(t, f.Link), []File{{Name: name}}, t.TempDir()); err == nil || !strings.Contains(err.Error(), "cannot be published as") {
			t.Errorf("%s: error %v", name, err)
		}
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if err := Copy(ended, led(t, f.Link), f.Files, t.TempDir()); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v", err)
	}
}
