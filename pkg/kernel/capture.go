package kernel

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"slices"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/stage"
)

// capturedFiles are what a capture holds of any host. The kernel's command
// line is among them, for what it says of signatures and lockdown: a host that
// keeps secrets there has them in its captures.
var capturedFiles = []string{
	"etc/os-release",
	"proc/cmdline",
	"proc/config.gz",
	"proc/kallsyms",
	"proc/modules",
	"proc/sys/kernel/osrelease",
	"proc/version",
	"sys/kernel/btf/vmlinux",
	"sys/kernel/security/lockdown",
	"usr/lib/os-release",
}

// capturedModuleFiles are what it holds of each loaded module, under
// sys/module/NAME.
var capturedModuleFiles = []string{
	"coresize", "sections/__ksymtab", "sections/__ksymtab_gpl", "srcversion", "taint", "version",
}

// Capture writes a tar of the files by which [Detect], and the checks of later
// stages, know a host: its kernel's version, config, symbols, types, command
// line, loaded modules and image, its os-release, and the lists (not the files)
// of the modules in its tree. Nothing else of the host is read.
//
// The archive is deterministic: sorted, regular files only, without times or
// owners. Files that the host does not have are left out.
func Capture(ctx context.Context, root *Root, w io.Writer) error {
	release, _, err := readRelease(root)
	if err != nil {
		return err
	}
	if !root.Mounted() {
		zerolog.Ctx(ctx).Warn().Msg("the host's root is not mounted: the capture will hold its proc and sys only")
	}
	archive := tar.NewWriter(w)
	for _, name := range captureNames(root, release) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := captureFile(ctx, root, name, archive); err != nil {
			return stage.Wrap(stage.Detect, err, "cannot capture the host", "")
		}
	}
	return archive.Close()
}

// captureNames lists every file that a capture may hold, sorted.
func captureNames(root *Root, r Release) []string {
	tree := "lib/modules/" + r.Full + "/"
	names := slices.Concat(capturedFiles, configFiles(r), []string{
		"boot/vmlinuz-" + r.Full,
		"usr/boot/vmlinuz-" + r.Full,
		tree + "vmlinuz",
		tree + "build/Module.symvers",
		tree + "modules.builtin",
		tree + "modules.builtin.modinfo",
		tree + "modules.dep",
		tree + "modules.order",
	})
	for _, module := range root.list("sys/module") {
		for _, name := range capturedModuleFiles {
			names = append(names, "sys/module/"+module+"/"+name)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// captureFile adds one file. It is read first: files of proc and sys do not
// know their size.
func captureFile(ctx context.Context, root *Root, name string, archive *tar.Writer) error {
	data, err := root.ReadFile(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, fs.ErrPermission):
		zerolog.Ctx(ctx).Warn().Err(err).Msg("left out of the capture")
		return nil
	case err != nil:
		return err
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     name,
		Mode:     0o644,
		Size:     int64(len(data)),
		ModTime:  time.Unix(0, 0),
	}
	if err := archive.WriteHeader(header); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	_, err = archive.Write(data)
	return err
}

// list is the names in a folder of the root, none if it is not there.
func (r *Root) list(name string) []string {
	p, err := r.Path(name)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir(p)
	if err != nil {
		return nil
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}
