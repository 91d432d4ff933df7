package lab

import (
	"cmp"
	"context"
	_ "embed"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed scripts/kernel.sh
var kernelScript string

// Kernel is the source that the server serves.
type Kernel struct {
	// Dir holds git/coreos/linux.git, as `labtool serve` wants it.
	Dir string
	// Version is the tree's own, "6.1.176"; the repository has it tagged as
	// coreos/linux would, v6.1.176-coreos.
	Version string
}

// kernel makes a git repository of Debian's linux-source: the kernel.org
// stable tree of that version with Debian's patches applied, one commit. Beside
// it lies coreos/mislabelled, whose tag of the same name is on a tree whose
// Makefile says another version.
func (l *Lab) kernel(ctx context.Context, from packages) (Kernel, error) {
	tool, err := l.labtool(ctx)
	if err != nil {
		return Kernel{}, err
	}
	dir, err := l.part(ctx, "kernel", from.recipe()+kernelScript+filepath.Base(filepath.Dir(tool)), func(dir string) error {
		return container{
			image:  Image,
			script: kernelScript,
			out:    dir,
			mounts: []string{from.Dir + ":/packages", tool + ":/labtool"},
		}.run(ctx)
	})
	if err != nil {
		return Kernel{}, err
	}
	tag, err := os.ReadFile(filepath.Join(dir, "tag"))
	version := strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(string(tag)), "v"), "-coreos")
	return Kernel{Dir: dir, Version: version}, err
}

// labtool builds the program that works inside the lab's container.
func (l *Lab) labtool(ctx context.Context) (string, error) {
	return l.program(ctx, "labtool")
}

// Program builds builder itself as a static binary, as the image has it, and
// returns its file.
func (l *Lab) Program(ctx context.Context) (string, error) { return l.ProgramFor(ctx, "") }

// ProgramFor is Program for another architecture, by Go's name for it.
func (l *Lab) ProgramFor(ctx context.Context, arch string) (string, error) {
	var sources string
	for _, folder := range []string{"cmd", "internal", "pkg"} {
		digest, err := l.sourceDigest(folder)
		if err != nil {
			return "", err
		}
		sources += digest
	}
	return l.binary(ctx, "builder", "cmd/builder", sources, arch)
}

// FabricManager builds what stands in for NVIDIA's fabric manager.
func (l *Lab) FabricManager(ctx context.Context) (string, error) {
	return l.program(ctx, "fabricmanager")
}

// program builds a static binary of a command below integration/.
func (l *Lab) program(ctx context.Context, name string) (string, error) {
	return l.programFor(ctx, name, "")
}

// programFor is program for an architecture, by Go's name for it; empty is amd64.
func (l *Lab) programFor(ctx context.Context, name, arch string) (string, error) {
	folder := filepath.Join("integration", name)
	sources, err := l.sourceDigest(folder)
	if err != nil {
		return "", err
	}
	return l.binary(ctx, name, folder, sources, arch)
}

func (l *Lab) binary(ctx context.Context, name, folder, sources, arch string) (string, error) {
	part := name
	if arch != "" {
		part += "-" + arch
	}
	dir, err := l.part(ctx, part, sources, func(dir string) error {
		cmd := exec.CommandContext(ctx, "go", "build", "-trimpath", "-o", filepath.Join(dir, name), "./"+filepath.ToSlash(folder))
		cmd.Dir = l.Checkout
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0", "GOOS=linux", "GOARCH="+cmp.Or(arch, "amd64"))
		out, err := cmd.CombinedOutput()
		return withOutput(err, out)
	})
	return filepath.Join(dir, name), err
}
