package cuda

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// TestKnownDigests holds every line of the table against the form that the
// rest of the package takes it to have.
func TestKnownDigests(t *testing.T) {
	t.Parallel()
	last := Package{Version: "99999.0"}
	for line := range strings.Lines(knownDigests) {
		digest, file, ok := strings.Cut(strings.TrimSuffix(line, "\n"), "  ")
		m := packageName.FindStringSubmatch(filepath.Base(file))
		if !ok || m == nil || !download.IsSHA256(digest) || digest != strings.ToLower(digest) {
			t.Fatalf("%q is no line of sha256sum's about a driver package", line)
		}
		p := Package{Arch: kernel.Arch(m[1]), Version: m[2]}
		if got := KnownDigest(p.Arch, p.Version); got != digest {
			t.Errorf("%s is known by %s, not %s", file, got, digest)
		}
		addresses, err := FetchOptions{}.addresses(p.Arch, p.Version)
		if err != nil || addresses[0] != Server+"/"+file || len(addresses) != len(folders[p.Arch]) {
			t.Errorf("%s is looked for at %v, %v", file, addresses, err)
		}
		if CompareVersions(last.Version, p.Version) < 0 {
			t.Errorf("%s comes after %s", p.Version, last.Version)
		}
		last = p
	}
	if got := KnownDigest(kernel.AArch64, "390.157"); got != "" {
		t.Errorf("the digest of another architecture's is %s", got)
	}
}

func TestAddresses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, base string
		arch       kernel.Arch
		want       []string
	}{
		{"NVIDIA's", "", kernel.X86_64, []string{
			"https://us.download.nvidia.com/XFree86/Linux-x86_64/1.2/NVIDIA-Linux-x86_64-1.2.run",
			"https://us.download.nvidia.com/tesla/1.2/NVIDIA-Linux-x86_64-1.2.run",
		}},
		{"for ARM", "", kernel.AArch64, []string{
			"https://us.download.nvidia.com/XFree86/aarch64/1.2/NVIDIA-Linux-aarch64-1.2.run",
			"https://us.download.nvidia.com/XFree86/Linux-aarch64/1.2/NVIDIA-Linux-aarch64-1.2.run",
			"https://us.download.nvidia.com/tesla/1.2/NVIDIA-Linux-aarch64-1.2.run",
		}},
		{"a mirror's", "https://me:pw@example.com/nvidia/?token=x", kernel.X86_64, []string{
			"https://me:pw@example.com/nvidia/XFree86/Linux-x86_64/1.2/NVIDIA-Linux-x86_64-1.2.run?token=x",
			"https://me:pw@example.com/nvidia/tesla/1.2/NVIDIA-Linux-x86_64-1.2.run?token=x",
			"https://me:pw@example.com/nvidia/NVIDIA-Linux-x86_64-1.2.run?token=x",
		}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := FetchOptions{BaseURL: tt.base}.addresses(tt.arch, "1.2")
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Error(diff)
			}
		})
	}
	for _, base := range []string{"example.com", "ftp://example.com", "https://", "https://me:%zz@example.com"} {
		if _, err := (FetchOptions{BaseURL: base}).addresses(kernel.X86_64, "1.2"); stage.ExitCode(err) != 2 || strings.Contains(err.Error(), "me:") {
			t.Errorf("%s: error %v", base, err)
		}
	}
}

func TestFetch(t *testing.T) {
	t.Parallel()
	var asked []string
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked = append(asked, r.URL.Path)
		switch len(asked) {
		case 1:
			http.NotFound(w, r)
		case 2:
			w.WriteHeader(http.StatusForbidden)
		default:
			http.ServeContent(w, r, "", time.Time{}, strings.NewReader("a package"))
		}
	}))
	defer server.Close()
	dir := filepath.Join(t.TempDir(), "downloads")
	if _, there := Fetched(dir, kernel.X86_64, "1.2"); there {
		t.Error("it is there already")
	}
	sum := fmt.Sprintf("%x", sha256.Sum256([]byte("a package")))
	room := int64(0)
	p, digest, err := Fetch(t.Context(), kernel.X86_64, "1.2", FetchOptions{
		Dir: dir, BaseURL: server.URL, SHA256: sum, Space: func(bytes int64) error { room = bytes; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	want := Package{Path: filepath.Join(dir, "NVIDIA-Linux-x86_64-1.2.run"), Kind: RunFile, Version: "1.2", Arch: kernel.X86_64, Fetched: true}
	if diff := cmp.Diff(want, p); diff != "" {
		t.Error(diff)
	}
	if again, there := Fetched(dir, kernel.X86_64, "1.2"); !there || again != p {
		t.Errorf("later it is %+v, %v", again, there)
	}
	if digest != "sha256:"+sum || room != int64(len("a package")) {
		t.Errorf("digest %s, room for %d bytes", digest, room)
	}
	if text, err := os.ReadFile(p.Path); err != nil || string(text) != "a package" {
		t.Errorf("it holds %q, %v", text, err)
	}
	if last := asked[len(asked)-1]; len(asked) != 3 || last != "/NVIDIA-Linux-x86_64-1.2.run" {
		t.Errorf("asked for %v", asked)
	}
}

// TestFetchWithoutRoom passes on the caller's own words.
func TestFetchWithoutRoom(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, "a package") }))
	defer server.Close()
	full := stage.New(stage.Driver, "the share is full", "")
	_, _, err := Fetch(t.Context(), kernel.X86_64, "1.2", FetchOptions{Dir: t.TempDir(), BaseURL: server.URL, Space: func(int64) error { return full }})
	if !errors.Is(err, full) || err.Error() != full.Error() {
		t.Errorf("error %v", err)
	}
}

// What a server answers decides whether another of its folders may have it.
func TestFetchErrors(t *testing.T) {
	t.Parallel()
	const network = "check the network and its proxy, and run again: it goes on where it broke off"
	for _, tt := range []struct {
		name   string
		answer func(w http.ResponseWriter)
		sha256 string
		known  bool
		asked  int
		reason string // with the server's address as SERVER
		cause  string
		hint   string
	}{
		{
			name: "nowhere", answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusNotFound) }, asked: 3,
			reason: "driver 1.2 for x86_64 is not to be had: " +
				"SERVER/XFree86/Linux-x86_64/1.2/NVIDIA-Linux-x86_64-1.2.run answered 404 Not Found, " +
				"SERVER/tesla/1.2/NVIDIA-Linux-x86_64-1.2.run answered 404 Not Found, " +
				"SERVER/NVIDIA-Linux-x86_64-1.2.run answered 404 Not Found",
			hint: "check the version at https://www.nvidia.com/en-us/drivers/unix/, or name another server with --driver-base-url",
		},
		{
			name: "not without a password", answer: func(w http.ResponseWriter) { w.WriteHeader(http.StatusUnauthorized) }, asked: 1,
			reason: "driver 1.2 cannot be downloaded", cause: "answered 401 Unauthorized", hint: network,
		},
		{
			name: "another file", answer: func(w http.ResponseWriter) { fmt.Fprint(w, "a package") }, sha256: strings.Repeat("0", 64), asked: 1,
			reason: "what the server has as driver 1.2 is not what it should be, and was removed", cause: "not " + strings.Repeat("0", 64),
			hint: "run again, as it may have been damaged on its way; or correct --driver-sha256",
		},
		{
			name: "another file than is known", answer: func(w http.ResponseWriter) { fmt.Fprint(w, "a package") }, sha256: strings.Repeat("0", 64), known: true, asked: 1,
			reason: "what the server has as driver 1.2 is not what it should be, and was removed", cause: "not " + strings.Repeat("0", 64),
			hint: "run again, as it may have been damaged on its way; builder knows this driver by that digest, so name NVIDIA's own server with --driver-base-url, or give the digest that you trust with --driver-sha256",
		},
		{
			name: "a large file", answer: func(w http.ResponseWriter) { w.Header().Set("Content-Length", fmt.Sprint(maxPackage+1)) }, asked: 1,
			reason: "driver 1.2 cannot be downloaded", cause: "is larger than 2147483648 bytes",
			hint: "check --driver-base-url: no driver package is that large",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			asked := 0
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
				asked++
				tt.answer(w)
			}))
			defer server.Close()
			dir := t.TempDir()
			p, digest, err := Fetch(t.Context(), kernel.X86_64, "1.2", FetchOptions{Dir: dir, BaseURL: server.URL, SHA256: tt.sha256, Known: tt.known, Pause: time.Nanosecond})
			checkError(t, err, strings.ReplaceAll(tt.reason, "SERVER", server.URL), tt.hint)
			if p != (Package{}) || digest != "" || !strings.Contains(err.Error(), tt.cause) {
				t.Errorf("%+v, %s, error %v, want %q", p, digest, err, tt.cause)
			}
			if asked != tt.asked {
				t.Errorf("asked %d times, want %d", asked, tt.asked)
			}
			if left := files(t, dir); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func TestFetchIntoNoFolder(t *testing.T) {
	t.Parallel()
	file := filepath.Join(put(t, "cuda.run"), "cuda.run")
	_, _, err := Fetch(t.Context(), kernel.X86_64, "1.2", FetchOptions{Dir: file, BaseURL: "http://127.0.0.1:1"})
	checkError(t, err, "cannot make a folder to download the driver into", spaceHint)
}
