//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/lab"
)

// TestBadInput holds, in the container and against the lab's server, what
// cmd/builder's test of the same name holds case by case without Docker.
func TestBadInput(t *testing.T) {
	share := usedShare(t)
	for _, tt := range []struct {
		name  string
		spoil func(t *testing.T, b *lab.Builder)
		code  int
		says  []string // parts of the sentence that a user needs
	}{
		{"no share is mounted", func(t *testing.T, b *lab.Builder) {
			b.Share = ""
		}, 2, []string{"/opt/share", "-v DIR:/opt/share"}},
		{"the share is read-only", func(t *testing.T, b *lab.Builder) {
			b.Docker, b.Share = []string{"-v", b.Share + ":/opt/share:ro"}, ""
			b.Args = []string{"--exclude-modules=nvidia-drm"}
		}, 16, []string{"read-only", "without :ro"}},
		{"the share has no room for a driver", func(t *testing.T, b *lab.Builder) {
			emptyShare(b, "256m")
		}, 11, []string{"268 MB free", "needs 853 MB"}},
		{"the share has no room for a kernel", func(t *testing.T, b *lab.Builder) {
			emptyShare(b, "850m")
		}, 12, []string{"MB free", "needs 65"}},
		{"no driver", func(t *testing.T, b *lab.Builder) {
			b.Share = ""
			b.Docker = []string{"--tmpfs", "/opt/share:exec"}
		}, 11, []string{"/opt/share/cuda", "NVIDIA-Linux-x86_64-"}},
		{"a driver version that is not there", func(t *testing.T, b *lab.Builder) {
			b.Args = []string{"--driver-version=999.99", "--driver-base-url=" + nowhere}
		}, 11, []string{"999.99", "which has 5"}},
		{"a truncated .run", func(t *testing.T, b *lab.Builder) {
			truncated(t, b)
		}, 11, []string{".run"}},
		{"a release that nobody can parse", func(t *testing.T, b *lab.Builder) {
			b.HostRoot = editedHost(t, "proc/sys/kernel/osrelease", "banana-6\n")
		}, 10, []string{"banana-6"}},
		{"a config that is not one", func(t *testing.T, b *lab.Builder) {
			b.HostRoot = editedHost(t, "proc/config.gz", "<html>404</html>\n")
		}, 10, []string{"proc/config.gz"}},
		{"no such ref", func(t *testing.T, b *lab.Builder) {
			b.Args = append(anew, "--source-ref=v9.9.9")
		}, 12, []string{"v9.9.9"}},
		{"a spent rate limit", faulty("rate-limit"), 12, []string{"rate limit", "token"}},
		{"an API that knows no such repository", faulty("not-found"), 12, []string{"v6.1."}},
		{"a broken API", faulty("error"), 12, []string{"500"}},
		{"an API that answers garbage", faulty("garbage"), 12, []string{"/fault/garbage"}},
		{"an API that cannot be reached", func(t *testing.T, b *lab.Builder) {
			b.Environ = []string{"BUILDER_LOG_FORMAT=json", "BUILDER_RETRY_PAUSE=100ms", "BUILDER_GITHUB_API_URL=" + nowhere}
			b.Args = anew
		}, 12, []string{nowhere, "refused"}},
		{"a repository that cannot be reached", func(t *testing.T, b *lab.Builder) {
			emptyShare(b, "4g")
			b.Args = []string{"--clone-url=" + nowhere + "/linux.git"}
		}, 12, []string{nowhere, "refused"}},
		{"a tag whose Makefile says another version", func(t *testing.T, b *lab.Builder) {
			b.Args = append(anew, "--github-repository=coreos/mislabelled")
		}, 12, []string{"4.7.3"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			before := results(t, share)
			b := online(t)
			b.Share, b.HostRoot = share, needHost(t).Dir
			tt.spoil(t, &b)
			o := run(t, b)
			if o.code != tt.code {
				t.Errorf("exit code %d, want %d", o.code, tt.code)
			}
			for _, want := range tt.says {
				if !strings.Contains(lastLine(o.stderr), want) {
					t.Errorf("the error does not say %q", want)
				}
			}
			if o.stdout != "" {
				t.Errorf("stdout %q, want nothing", o.stdout)
			}
			if after := results(t, share); after != before {
				t.Errorf("results changed (-before +after):\n%s", cmp.Diff(before, after))
			}
		})
	}
}

// anew asks for modules that no run has published, so that every stage runs.
var anew = []string{"--exclude-modules=nvidia-drm"}

// nowhere is a port that nobody listens on.
const nowhere = "http://127.0.0.1:9"

func lastLine(text string) string {
	lines := strings.Split(strings.TrimSpace(text), "\n")
	return lines[len(lines)-1]
}

// usedShare is a share with the driver's package and what an earlier job has
// published in it, for another kernel.
func usedShare(t *testing.T) string {
	t.Helper()
	dir := newShare(t)
	for _, name := range []string{"manifest.json", "nvidia.ko"} {
		write(t, filepath.Join(dir, "modules/4.19.0-other/470.57.02", name), []byte("of an earlier job\n"))
	}
	return dir
}

// emptyShare gives the run a share in memory, with the drivers and nothing else.
func emptyShare(b *lab.Builder, size string) {
	b.Docker = []string{"--tmpfs", "/opt/share:exec,size=" + size, "-v", filepath.Join(b.Share, "cuda") + ":/opt/share/cuda:ro"}
	b.Share = ""
}

func faulty(fault string) func(*testing.T, *lab.Builder) {
	return func(t *testing.T, b *lab.Builder) {
		b.Environ = []string{"BUILDER_LOG_FORMAT=json", "BUILDER_RETRY_PAUSE=100ms", "BUILDER_GITHUB_API_URL=" + needServer(t).FaultyURL(fault)}
		b.Args = anew
	}
}

// truncated gives the run a share of its own, with half a driver.
func truncated(t *testing.T, b *lab.Builder) {
	t.Helper()
	run := needDriver(t).Run
	b.Share = t.TempDir()
	content, err := os.ReadFile(run)
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(b.Share, "cuda", filepath.Base(run)), content[:len(content)/2])
}

// editedHost is the recorded host with one file that says something else.
func editedHost(t *testing.T, name, content string) string {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(needHost(t).Dir)); err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(dir, name), []byte(content))
	return dir
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o644); err != nil {
		t.Fatal(err)
	}
}
