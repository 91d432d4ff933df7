package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/source/needs"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// bench is what all turns share.
type bench struct {
	dir      string // shares are made in it
	programs string // the folder with stopwatch and gogit
	patterns string // what a build needs of the tree, for git's sparse checkout
	image    string
	relay    *relay
	server   *lab.Server
	registry *registry
	driver   lab.Driver
	// host's kernel is built of tag in the repository at url, and other is the
	// same host with another kernel.
	host, other lab.Host
	// nextOnes are later versions of driver, which have its sources. What the digest of
	// each version's package is, in hexadecimal, is in digests.
	nextOnes []lab.Driver
	digests  map[string]string
	url, tag string
	compiler string // what builder compiles with, for the classic script
	git      string // the version of git in the image
}

// setUp makes everything that is not measured.
func setUp(ctx context.Context, l *lab.Lab) (b *bench, err error) {
	b = &bench{image: gitImage}
	defer func() {
		if err != nil {
			b.close()
		}
	}()
	parts, err := l.Make(ctx)
	if err != nil {
		return b, err
	}
	b.driver, b.host = parts.Driver, parts.Host
	kernels, other, err := l.TwoReleases(ctx, parts.Kernel)
	if err != nil {
		return b, err
	}
	b.tag = "v" + kernels.Version + "-coreos"
	if b.dir, err = os.MkdirTemp("", "k8sp-cuda-bench-"); err != nil {
		return b, err
	}
	if b.other, err = b.host.As(filepath.Join(b.dir, "other"), other); err != nil {
		return b, err
	}
	if b.host, err = withTypes(ctx, l, b.host, filepath.Join(b.dir, "host"), kernels.Version); err != nil {
		return b, err
	}
	if err := b.nextDrivers(ctx); err != nil {
		return b, err
	}
	if b.patterns, err = writePatterns(b.dir, kernels.Version); err != nil {
		return b, err
	}
	b.programs = filepath.Join(b.dir, "programs")
	for _, name := range []string{"stopwatch", "gogit"} {
		if err := buildProgram(ctx, l.Checkout, name, b.programs); err != nil {
			return b, err
		}
	}
	if b.git, err = buildImages(ctx, l); err != nil {
		return b, err
	}
	if b.compiler, err = compilerOf(b.host); err != nil {
		return b, err
	}
	if b.server, err = l.Serve(ctx, kernels); err != nil {
		return b, err
	}
	if b.relay, err = newRelay(strings.TrimPrefix(b.server.URL, "http://")); err != nil {
		return b, err
	}
	if b.registry, err = startRegistry(ctx, l, b.dir); err != nil {
		return b, err
	}
	b.url = b.relay.url() + "/coreos/linux.git"
	// The first to read should have no worse a disk than the others.
	return b, errors.Join(warm(kernels.Dir), warm(b.driver.Folder), warm(b.driver.Run))
}

// nextDrivers makes two more versions of the driver.
func (b *bench) nextDrivers(ctx context.Context) error {
	dir := filepath.Join(b.dir, "next")
	for _, version := range []string{"535.274.02", "535.288.01"} {
		driver, err := b.driver.As(dir, version)
		if err != nil {
			return err
		}
		b.nextOnes = append(b.nextOnes, driver)
	}
	b.digests = map[string]string{}
	sum, _, err := publish.DigestFile(b.driver.Run)
	if err != nil {
		return err
	}
	b.digests[b.driver.Version] = sum
	for _, driver := range b.nextOnes {
		pkg, err := cuda.Find(ctx, dir, kernel.X86_64, driver.Version)
		if err != nil {
			return err
		}
		digest, err := pkg.Digest(ctx)
		if err != nil {
			return err
		}
		b.digests[driver.Version] = strings.TrimPrefix(digest, "sha256:")
	}
	return nil
}

func (b *bench) close() {
	if b.relay != nil {
		b.relay.close()
	}
	if b.registry != nil {
		b.registry.close()
	}
	if b.server != nil {
		b.server.Close()
	}
	if b.dir != "" {
		_ = b.remove(context.Background(), b.dir)
	}
}

// remove removes a folder in which containers have left root's files.
func (b *bench) remove(ctx context.Context, dir string) error {
	if err := b.empty(ctx, dir); err != nil {
		return err
	}
	return os.Remove(dir)
}

// empty removes what is in one.
func (b *bench) empty(ctx context.Context, dir string) error {
	run := exec.CommandContext(ctx, "docker", "run", "--rm", "-v", dir+":/gone", "--entrypoint", "find", b.image, "/gone", "-mindepth", "1", "-delete")
	if out, err := run.CombinedOutput(); err != nil {
		return fmt.Errorf("clear %s: %w\n%s", dir, err, out)
	}
	return nil
}

// withTypes is a host that has the type information of Debian's kernel of the line.
func withTypes(ctx context.Context, l *lab.Lab, host lab.Host, dir, version string) (lab.Host, error) {
	debian, err := l.Debian(ctx, "bookworm")
	if err != nil {
		return lab.Host{}, err
	}
	img, err := image.Open(ctx, debian.Image())
	if err != nil {
		return lab.Host{}, err
	}
	if host, err = host.As(dir, version); err != nil {
		return lab.Host{}, err
	}
	folder := filepath.Join(host.Dir, "sys/kernel/btf")
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return lab.Host{}, err
	}
	return host, os.WriteFile(filepath.Join(folder, "vmlinux"), img.Types, 0o644)
}

func writePatterns(dir, version string) (string, error) {
	release, err := kernel.ParseRelease(version)
	if err != nil {
		return "", err
	}
	list, err := needs.For(kernel.X86_64, release)
	if err != nil {
		return "", err
	}
	file := filepath.Join(dir, "patterns")
	return file, os.WriteFile(file, []byte(list.Patterns()), 0o644)
}

func buildProgram(ctx context.Context, checkout, name, dir string) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(dir, name), "./integration/"+name)
	cmd.Dir = checkout
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH=amd64")
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build %s: %w\n%s", name, err, out)
	}
	return nil
}

// compilerOf is the compiler that a host says its kernel was built with, which
// is builder's choice, so that the classic script has the same.
func compilerOf(h lab.Host) (string, error) {
	text, err := os.ReadFile(filepath.Join(h.Dir, "proc/version"))
	if err != nil {
		return "", err
	}
	compiler := gccName.FindString(string(text))
	if compiler == "" {
		return "", fmt.Errorf("the host's kernel does not say which gcc built it: %s", text)
	}
	return compiler, nil
}

var gccName = regexp.MustCompile(`gcc-\d+`)

// warm reads what is below a folder, so that it is in the page cache.
func warm(dir string) error {
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !entry.Type().IsRegular() {
			return err
		}
		file, err := os.Open(path)
		if err != nil {
			return err
		}
		defer file.Close()
		_, err = io.Copy(io.Discard, file)
		return err
	})
}

// describe says what was measured on, for the report.
func (b *bench) describe() parts {
	return parts{kernel: b.tag, other: b.other.Release, driver: b.driver.Version, compiler: b.compiler}
}
