package job

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/registry"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
	"github.com/k8sp/cuda/pkg/sysext"
)

// ExportSysext writes a system extension for Flatcar of what a share has of one driver, for
// all kernels that are selected: see package sysext. Its name is the extension's. Of the
// options it takes NoWait, Wait, Runner and Runtime. Errors are of the usage or the publish
// stage.
func ExportSysext(ctx context.Context, name string, what Selection, o Options, w io.Writer) error {
	if err := sysext.CheckName(name); err != nil {
		return err
	}
	return withSelected(ctx, what, o, func(ctx context.Context, s site) error {
		x := sysext.Options{Name: name, Program: filepath.Join(cmp.Or(s.Runtime, defaultRuntime), builderProgram), Runner: s.Runner, Scratch: s.scratch}
		err := s.eachBuilt(ctx, what, func(f modules.Found, r registry.Recipe) error { return addTo(&x, f, r) })
		if err != nil {
			return err
		}
		return publish.Explain(ctx, s.share, sysext.Write(ctx, x, w), "the extension cannot be made", "look at the cause, and export again")
	})
}

// ExportSysextFile is [ExportSysext] into a file, which appears when it is whole. The
// extension's name is the file's, without .raw.
func ExportSysextFile(ctx context.Context, what Selection, o Options, path string) error {
	name, ok := strings.CutSuffix(filepath.Base(path), ".raw")
	if !ok {
		return stage.New(stage.Usage, fmt.Sprintf("%s cannot be an extension: systemd-sysext looks for NAME.raw", path), "name a file as cuda-driver.raw")
	}
	return writeWhole(stage.Publish, "the extension", path, func(w io.Writer) error { return ExportSysext(ctx, name, what, o, w) })
}

// builderProgram is where what runs in an artefact has builder.
const builderProgram = "usr/local/bin/builder"

// addTo adds a result to an extension, which is of one driver and architecture.
func addTo(x *sysext.Options, f modules.Found, r registry.Recipe) error {
	m := f.Manifest
	switch {
	case r.Runtime == "":
		return stage.New(stage.Publish, "an extension needs builder for a host of its architecture, "+string(m.Target.Arch)+", and this is none", "make it in builder's image, on a machine of that architecture")
	case x.Version != "" && (x.Version != m.Driver.Version || x.Arch != m.Target.Arch):
		return stage.New(stage.Usage, fmt.Sprintf("a host has one driver, and the share has %s and %s", x.Version, m.Driver.Version), "name one with --driver-version")
	case !strings.HasPrefix(m.Target.Distribution, "flatcar"):
		return stage.New(stage.Publish, fmt.Sprintf("%s is a kernel of %s, and an extension is for Flatcar", m.Target.Release, cmp.Or(m.Target.Distribution, "a system that was not to be seen")),
			"name one of Flatcar's with --release")
	}
	x.Version, x.Arch = m.Driver.Version, m.Target.Arch
	for _, c := range r.Contents {
		at := strings.TrimPrefix(c.Kind.At, inImage)
		if slices.ContainsFunc(x.Folders, func(have sysext.Folder) bool { return have.At == at }) {
			continue // of all kernels
		}
		index, err := publish.ReadIndex(c.Dir, c.Kind.Index, c.Kind.MaxIndex, nil)
		if err != nil {
			return err
		}
		files, err := c.Kind.Contents(index)
		if err != nil {
			return err
		}
		x.Folders = append(x.Folders, sysext.Folder{Dir: c.Dir, At: at, Index: c.Kind.Index, Files: files})
	}
	return nil
}
