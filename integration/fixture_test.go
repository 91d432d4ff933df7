//go:build integration

package integration

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/pkg/modules"
)

// owner is the user that the share belongs to: CoreOS's core has this id, and
// builder in its container is root.
const owner = 500

// checkout is a copy of this repository that is at once the share, as a
// user's is, after `make demo` in it. All tests use the one: what it took
// minutes to make is reused by the cases that come after it, as on a real
// share, and each asserts that it left the results alone.
type checkout struct {
	lab    *lab.Lab
	parts  lab.Parts
	server *lab.Server
	dir    string
	demo   string // what the demo printed
}

var shared = sync.OnceValues(makeCheckout)

func TestMain(m *testing.M) {
	code := m.Run()
	if c, _ := shared(); c != nil {
		c.close()
	}
	os.Exit(code)
}

func share(t *testing.T) *checkout {
	t.Helper()
	c, err := shared()
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// close leaves nothing running and nothing on the disk.
func (c *checkout) close() {
	c.server.Close()
	os.RemoveAll(c.dir)
}

// makeCheckout returns what it has made, too, where it fails half way.
func makeCheckout() (*checkout, error) {
	// Not a test's context: it is for all of them.
	ctx := context.Background()
	l, err := lab.Open(ctx, os.Stderr)
	if err != nil {
		return nil, err
	}
	c := &checkout{lab: l}
	if c.parts, err = l.Make(ctx); err != nil {
		return nil, err
	}
	if c.server, err = l.Serve(ctx, c.parts.Kernel); err != nil {
		return nil, err
	}
	if c.dir, err = os.MkdirTemp("", "k8sp-cuda-"); err != nil {
		return c, err
	}
	if err := copyCheckout(c.dir, l.Checkout); err != nil {
		return c, err
	}
	if err := c.fill(); err != nil {
		return c, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "run", "./integration/demo")
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, os.Stderr), os.Stderr
	if err := cmd.Run(); err != nil {
		return c, fmt.Errorf("make demo: %w (what it said is above)", err)
	}
	c.demo = out.String()
	return c, nil
}

func copyCheckout(dst, src string) error {
	entries, err := os.ReadDir(src)
	if err != nil {
		return err
	}
	for _, e := range entries {
		from, to := filepath.Join(src, e.Name()), filepath.Join(dst, e.Name())
		switch e.Name() {
		case "cmd", "integration", "internal", "pkg":
			err = os.CopyFS(to, os.DirFS(from))
		default:
			if !e.Type().IsRegular() {
				continue
			}
			var content []byte
			if content, err = os.ReadFile(from); err == nil {
				err = os.WriteFile(to, content, 0o644)
			}
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// fill gives the share what a user's has: gigabytes in ./cuda, and an owner.
func (c *checkout) fill() error {
	toolkit := filepath.Join(c.dir, "cuda", "cuda_12.8.0_570.86.10_linux.run")
	if err := os.Mkdir(filepath.Dir(toolkit), 0o755); err != nil {
		return err
	}
	if err := os.WriteFile(toolkit, nil, 0o644); err != nil {
		return err
	}
	if err := os.Truncate(toolkit, 1<<30); err != nil {
		return err
	}
	if os.Getuid() != 0 {
		return nil // it is ours, and so it stays
	}
	return filepath.WalkDir(c.dir, func(path string, _ fs.DirEntry, err error) error {
		return errors.Join(err, os.Lchown(path, owner, owner))
	})
}

// published is the folder whose manifest the demo names as its last line.
func (c *checkout) published() string {
	lines := strings.Split(strings.TrimSpace(c.demo), "\n")
	return filepath.Dir(lines[len(lines)-1])
}

func (c *checkout) manifest(t *testing.T) modules.Manifest {
	t.Helper()
	file, err := os.Open(filepath.Join(c.published(), modules.ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	m, err := modules.ParseManifest(file)
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// builder is a run on the share as the demo made it, so that without further
// arguments there is nothing left to do.
func (c *checkout) builder(args ...string) lab.Builder {
	return lab.Builder{
		Image: image,
		Share: c.dir, HostRoot: c.parts.Host.Dir,
		Name:    lab.ContainerName("test"),
		Environ: append(c.server.Environ(), "BUILDER_LOG_FORMAT=json", "BUILDER_RETRY_PAUSE=100ms"),
		Args:    args,
	}
}

// outcome is how a run ended.
type outcome struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, b lab.Builder) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	b.Stdout, b.Stderr = &stdout, &stderr
	code, err := b.Run(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("%s\nexit code %d, stdout %q, stderr\n%s", strings.Join(b.Argv(), " "), code, stdout.String(), stderr.String())
		}
	})
	return outcome{code, stdout.String(), stderr.String()}
}

// results describes every file below modules, so that a test can tell that
// none was touched.
func (c *checkout) results(t *testing.T) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(filepath.Join(c.dir, "modules"), func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		info, err := entry.Info()
		if err == nil {
			fmt.Fprintln(&out, path, info.Mode(), info.Size(), info.ModTime())
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return out.String()
}
