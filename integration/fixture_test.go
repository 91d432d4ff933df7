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
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/modules"
)

// owner is the user that the share belongs to: CoreOS's core has this id, and
// builder in its container is root.
const owner = 500

// What tests share. TestMain makes nothing: see package shared.
var (
	needImage    = shared.Image(image, (*lab.Lab).MakeCUDAImage)
	needGCC15    = shared.Image(lab.GCC15Image, (*lab.Lab).MakeGCC15Image)
	needOldImage = shared.Image(lab.OldImage, (*lab.Lab).MakeOldImage)
	needTrixie   = shared.Debian("trixie")
	needDriver   = shared.Thing((*lab.Lab).Driver)
	needHost     = shared.Thing((*lab.Lab).Host)
	needFlatcar  = shared.Thing((*lab.Lab).Flatcar)
	needKernel   = shared.Thing((*lab.Lab).Kernel)
	needServer   = shared.Thing(serve)
	needDemo     = shared.Thing(makeCheckout)
)

func TestMain(m *testing.M) { shared.Main(m) }

// image is the one under test, of this checkout; its compilers also build the
// small kernel.
const image = lab.CUDAImage

func serve(l *lab.Lab, ctx context.Context) (*lab.Server, error) {
	kernel, err := l.Kernel(ctx)
	if err != nil {
		return nil, err
	}
	s, err := l.Serve(ctx, kernel)
	if err == nil {
		shared.AtEnd(func() { s.Close() })
	}
	return s, err
}

// checkout is a copy of this repository that is at once the share, as a
// user's is, after `make demo` in it. All tests that need one use the one: what
// it took minutes to make is reused by the cases that come after it, as on a
// real share, and each asserts that it left the results alone.
type checkout struct {
	dir  string
	demo string // what the demo printed
}

func makeCheckout(l *lab.Lab, ctx context.Context) (*checkout, error) {
	dir, err := os.MkdirTemp("", "k8sp-cuda-")
	if err != nil {
		return nil, err
	}
	shared.AtEnd(func() { os.RemoveAll(dir) })
	c := &checkout{dir: dir}
	if err := copyCheckout(c.dir, l.Checkout); err != nil {
		return nil, err
	}
	if err := c.fill(); err != nil {
		return nil, err
	}
	var out bytes.Buffer
	cmd := exec.CommandContext(ctx, "go", "run", "./integration/demo")
	cmd.Dir = c.dir
	cmd.Stdout, cmd.Stderr = io.MultiWriter(&out, os.Stderr), os.Stderr
	if err := cmd.Run(); err != nil {
		return nil, fmt.Errorf("make demo: %w (what it said is above)", err)
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
		case "cmd", "integration", "internal", "pkg", "scripts":
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
func (c *checkout) builder(t *testing.T, args ...string) lab.Builder {
	t.Helper()
	b := online(t, args...)
	b.Share, b.HostRoot = c.dir, needHost(t).Dir
	return b
}

// online is a run that has the lab's server for GitHub, and neither share nor
// host yet.
func online(t *testing.T, args ...string) lab.Builder {
	t.Helper()
	return job(t, needServer(t).APIURL(), args)
}

// offline is the same with nobody to ask.
func offline(t *testing.T, args ...string) lab.Builder {
	t.Helper()
	return job(t, nowhere, args)
}

func job(t *testing.T, api string, args []string) lab.Builder {
	t.Helper()
	return lab.Builder{
		Image: needImage(t), Name: lab.ContainerName("test"), Args: args,
		Environ: []string{"BUILDER_LOG_FORMAT=json", "BUILDER_RETRY_PAUSE=100ms", "BUILDER_GITHUB_API_URL=" + api},
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
func (c *checkout) results(t *testing.T) string { return results(t, c.dir) }

func results(t *testing.T, share string) string {
	t.Helper()
	var out strings.Builder
	err := filepath.WalkDir(filepath.Join(share, "modules"), func(path string, entry fs.DirEntry, err error) error {
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
