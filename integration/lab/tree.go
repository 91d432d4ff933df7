package lab

import (
	"context"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel/loader"
)

var (
	//go:embed scripts/tree-kernel.sh
	treeKernelScript string
	//go:embed scripts/tree.sh
	treeScript string
	//go:embed tree.go
	treeSource string
)

// treeCompiler is what builds the kernels of trees: the oldest that a Debian has, newer
// than CoreOS's own.
const treeCompiler = "gcc-9"

// olderConfig has old lines make what the config asks newer ones for by other names:
// drm_kms_helper comes with a driver.
const olderConfig = "CONFIG_DRM_BOCHS=m\n"

// Tree is a kernel's source that somebody has, of a line that no package of Debian's is
// of any more.
type Tree struct {
	// Kernel is the source as the server serves it, as coreos/linux, and Tag its tag: as
	// CoreOS's are, or kernel.org's of what Flatcar builds from.
	Kernel Kernel
	Tag    string
	// Host is the root of a host that runs a kernel built of it.
	Host Host
}

// Tree makes the parts of the tree at dir. Config is a file with the whole config of the
// kernel to build, such as CoreOS's own; empty is the small one of the lab's CoreOS, as
// far as this line knows it.
func (l *Lab) Tree(ctx context.Context, dir, config string) (Tree, error) {
	name, err := treeRelease(dir)
	if err != nil {
		return Tree{}, err
	}
	seen, err := treeDigest(dir)
	if err != nil {
		return Tree{}, err
	}
	k, err := l.treeKernel(ctx, dir, name, seen)
	if err != nil {
		return Tree{}, err
	}
	host, err := l.treeHost(ctx, dir, config, name, seen)
	return Tree{k, name.tag(), host}, err
}

// release is what a tree's kernel calls itself: 4.19.78-coreos. Local is what its config
// has to add to that; empty where the Makefile says it.
type release struct{ version, name, local string }

func (r release) tag() string {
	if strings.HasSuffix(r.name, "-flatcar") {
		return "v" + r.version
	}
	return "v" + r.name
}

var makefileLine = regexp.MustCompile(`(?m)^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)[ \t]*=[ \t]*(\S*)`)

func treeRelease(dir string) (release, error) {
	text, err := os.ReadFile(filepath.Join(dir, "Makefile"))
	if err != nil {
		return release{}, fmt.Errorf("%s is no kernel's source: %w", dir, err)
	}
	says := map[string]string{}
	for _, m := range makefileLine.FindAllStringSubmatch(string(text), -1) {
		if _, said := says[m[1]]; !said {
			says[m[1]] = m[2]
		}
	}
	r := release{version: says["VERSION"] + "." + says["PATCHLEVEL"] + "." + says["SUBLEVEL"]}
	if r.name = r.version + says["EXTRAVERSION"]; says["EXTRAVERSION"] == "" {
		r.local = "-coreos"
	}
	r.name += r.local
	return r, nil
}

// treeDigest changes with the tree.
func treeDigest(dir string) (string, error) {
	var list strings.Builder
	err := filepath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.Name() == ".git" {
			if d.IsDir() {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err == nil && !d.IsDir() {
			fmt.Fprintf(&list, "%s %d %d\n", path, info.Size(), info.ModTime().UnixNano())
		}
		return err
	})
	return digest(list.String()), err
}

func (l *Lab) treeKernel(ctx context.Context, dir string, r release, seen string) (Kernel, error) {
	if err := l.ToolsImage(ctx); err != nil {
		return Kernel{}, err
	}
	tool, err := l.labtool(ctx)
	if err != nil {
		return Kernel{}, err
	}
	made, err := l.part(ctx, "tree-source", seen+r.tag()+treeKernelScript+filepath.Base(filepath.Dir(tool)), func(out string) error {
		return container{
			image: Image, script: "tag=" + r.tag() + "\n" + treeKernelScript, out: out,
			mounts: []string{dir + ":/tree", tool + ":/labtool"},
		}.run(ctx)
	})
	return Kernel{Dir: made, Version: r.version}, err
}

func (l *Lab) treeHost(ctx context.Context, dir, config string, r release, seen string) (Host, error) {
	whole, text := "yes", []byte(nil)
	var err error
	if config == "" {
		whole, text = "no", []byte(strings.Replace(coreosConfig, `CONFIG_LOCALVERSION="-coreos-r1"`, fmt.Sprintf("CONFIG_LOCALVERSION=%q", r.local), 1)+olderConfig)
	} else if text, err = os.ReadFile(config); err != nil {
		return Host{}, err
	}
	takes, err := loader.Read(dir)
	if err != nil {
		return Host{}, err
	}
	// Today's assembler writes it into the kernel's own modules, too, which CoreOS's did not.
	knows := takes != nil && takes.Knows(elf.R_X86_64_PLT32.String())
	if !knows {
		text = append(text, "# CONFIG_MODULE_SIG_ALL is not set\n"...) // they are changed after that
	}
	made, err := l.part(ctx, "tree-host", seen+treeScript+treeSource+osRelease+string(text), func(out string) error {
		if err := l.MakeOldImage(ctx); err != nil {
			return err
		}
		file := filepath.Join(out, "fragment")
		if err := os.WriteFile(file, text, 0o644); err != nil {
			return err
		}
		build := container{
			image: OldImage, out: out,
			script: fmt.Sprintf("compiler=%s\nwhole=%s\nrelease=%s\n", treeCompiler, whole, r.name) + treeScript,
			mounts: []string{dir + ":/tree", file + ":/config"},
		}
		if err := build.run(ctx); err != nil {
			return err
		}
		if err := errors.Join(os.Remove(file), writeFile(filepath.Join(out, "etc/os-release"), []byte(osRelease))); err != nil {
			return err
		}
		host, err := readHost(out)
		if err == nil && !knows {
			err = host.olderRelocations()
		}
		if err != nil {
			return err
		}
		// A host with CoreOS's own config has the one, a small one the other.
		loaded := map[string]string{"yes": "i2c_core", "no": "drm_kms_helper"}[whole]
		return l.record(ctx, host, loaded)
	})
	if err != nil {
		return Host{}, err
	}
	return readHost(made)
}

// olderRelocations gives the host's own modules the relocations that assemblers of their
// kernel's time wrote.
func (h Host) olderRelocations() error {
	return filepath.WalkDir(filepath.Join(h.Dir, "lib/modules"), func(path string, d fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".ko") {
			return err
		}
		f, err := os.OpenFile(path, os.O_RDWR, 0)
		if err != nil {
			return err
		}
		info, err := f.Stat()
		if err == nil {
			_, err = ko.ReplaceRelocations(f, info.Size(), uint32(elf.R_X86_64_PLT32), uint32(elf.R_X86_64_PC32))
		}
		return errors.Join(err, f.Close())
	})
}
