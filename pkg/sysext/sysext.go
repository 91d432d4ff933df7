// Package sysext makes a system extension of a driver: a squashfs that systemd-sysext(8)
// merges into a Flatcar host's /usr, with the driver for several kernels, its user-space
// side, and a unit that loads it.
//
// The folders lie in it as in a share, at /usr/lib/cuda/share, and builder beside them
// loads what is of the running kernel. So nothing is in /usr/lib/modules, where an
// extension with a modules.dep would hide the host's own (flatcar/Flatcar#1576), and one
// extension serves before and after an update. Programs and libraries have links where a
// host looks for them.
//
// Sources: systemd-sysext(8) and os-release(5) on extension-release; Flatcar's
// documentation on SYSEXT_LEVEL, and its sysext-bakery on units of extensions, which are
// not there yet when the first transaction of a boot is computed.
package sysext

import (
	"bytes"
	"context"
	_ "embed" // the unit
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// Folder is a published folder and its place in a share.
type Folder struct {
	// Dir is the folder, At where it is below a share: "driver/580.126.09".
	Dir, At string
	// Index is the name of the file that lists Files.
	Index string
	Files []publish.File
}

// Options say what to make an extension of.
type Options struct {
	// Name is the extension's; its file is called NAME.raw.
	Name string
	// Version is the driver's.
	Version string
	Arch    kernel.Arch
	// Program is builder's file, for the host.
	Program string
	// Folders are in it. Of one that has programs and libraries, as a driver root has
	// them, usr/bin and usr/lib64 are linked to.
	Folders []Folder
	// Runner runs mksquashfs(1).
	Runner command.Runner
	// Scratch is a folder on the share's file system, with room for the extension.
	Scratch string
}

// name is what an extension may be called: a part of file names, and of no option.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_.+-]{0,63}$`)

// CheckName is an error, of the usage stage, where an extension cannot be called so.
func CheckName(s string) error {
	if name.MatchString(s) {
		return nil
	}
	return stage.New(stage.Usage, fmt.Sprintf("an extension cannot be called %q", s), "give it a name as cuda-driver, of letters, digits and -._+")
}

// The places in an extension.
const (
	top     = "usr/lib/cuda"
	share   = top + "/share"
	program = top + "/builder"
	units   = "usr/lib/systemd/system"
	// Unit is that which loads the driver.
	Unit = "cuda-sysext.service"
)

//go:embed cuda-sysext.service
var unit string

// Write writes an extension. The same folders and program are the same bytes. Errors are of
// the publish stage, or for the caller to explain.
func Write(ctx context.Context, o Options, w io.Writer) error {
	base, err := beneath.MkdirTemp(o.Scratch, "sysext-")
	if err != nil {
		return err
	}
	defer beneath.RemoveAll(base)
	root, out := filepath.Join(base, "root"), filepath.Join(base, "out")
	t := tree{root}
	if err := errors.Join(beneath.MkdirAll(root, 0o755), beneath.MkdirAll(out, 0o755)); err != nil {
		return err
	}
	if err := t.fill(ctx, o); err != nil {
		return err
	}
	file := filepath.Join(out, o.Name+".raw")
	var said bytes.Buffer
	err = o.Runner.Run(ctx, command.Command{
		Args: []string{
			"mksquashfs", root, file, "-noappend", "-no-progress", "-quiet", "-comp", "zstd",
			// The same, whoever makes it and when.
			"-all-root", "-no-xattrs", "-mkfs-time", "0", "-all-time", "0",
		},
		Reads: []string{root}, Writes: []string{out}, Output: &said,
	})
	var exit *command.ExitError
	switch {
	case errors.As(err, &exit):
		return fmt.Errorf("%w: %s", err, strings.TrimSpace(said.String()))
	case errors.Is(err, command.ErrNotFound):
		return stage.Wrap(stage.Publish, err, "an extension cannot be made without mksquashfs", "install squashfs-tools, or run builder in its image, which has it")
	case err != nil:
		return err
	}
	made, err := command.OpenLeft(file)
	if err != nil {
		return err
	}
	defer made.Close()
	_, err = io.Copy(w, made)
	return err
}

// tree is the root of an extension that is being made.
type tree struct{ root string }

func (t tree) fill(ctx context.Context, o Options) error {
	for _, f := range o.Folders {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := t.folder(f); err != nil {
			return err
		}
	}
	if err := t.copy(o.Program, program); err != nil {
		return err
	}
	texts := map[string]string{
		"usr/lib/extension-release.d/extension-release." + o.Name: release(o.Arch),
		units + "/" + Unit: strings.NewReplacer("{{name}}", o.Name, "{{version}}", o.Version).Replace(unit),
		// What is merged comes too late to be wanted by a target as it starts.
		units + "/multi-user.target.d/10-cuda-sysext.conf": "[Unit]\nUpholds=" + Unit + "\n",
	}
	for at, text := range texts {
		if err := t.parent(at); err != nil {
			return err
		}
		if err := beneath.WriteFile(t.path(at), []byte(text), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// release is the extension's extension-release: systemd-sysext merges it into a host of
// this ID, level and architecture. Of versions it says nothing, as the unit knows what is
// for which kernel.
func release(arch kernel.Arch) string {
	name := map[kernel.Arch]string{kernel.X86_64: "x86-64", kernel.AArch64: "arm64"}[arch]
	return "ID=flatcar\nSYSEXT_LEVEL=1.0\nARCHITECTURE=" + name + "\n"
}

func (t tree) path(at string) string { return filepath.Join(t.root, filepath.FromSlash(at)) }

func (t tree) parent(at string) error { return beneath.MkdirAll(t.path(path.Dir(at)), 0o755) }

// folder has the files of a published folder in it, as they are listed.
func (t tree) folder(f Folder) error {
	for _, file := range slices.Concat(publish.Unlisted(f.Dir, f.Index), f.Files) {
		at := path.Join(share, f.At, file.Name)
		if err := t.parent(at); err != nil {
			return err
		}
		if file.Target != "" {
			if err := beneath.Symlink(file.Target, t.path(at)); err != nil {
				return err
			}
		} else if err := beneath.LinkOrCopy(filepath.Join(f.Dir, filepath.FromSlash(file.Name)), t.path(at)); err != nil {
			return err
		}
		if err := t.lead(file.Name, at); err != nil {
			return err
		}
	}
	return nil
}

// copy has a file of the image's there.
func (t tree) copy(from, at string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	if err := t.parent(at); err != nil {
		return err
	}
	return beneath.Copy(in, t.path(at))
}

// lead has a link lead to a program or a library from where a host looks for it. Libraries
// of other programs than the loader's, in folders of usr/lib64, stay where they are.
func (t tree) lead(name, at string) error {
	if !slices.Contains([]string{"usr/bin", "usr/lib64"}, path.Dir(name)) {
		return nil
	}
	target, err := filepath.Rel("/"+path.Dir(name), "/"+at)
	if err != nil {
		return err
	}
	if err := t.parent(name); err != nil {
		return err
	}
	return beneath.Symlink(target, t.path(name))
}
