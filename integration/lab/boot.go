package lab

import (
	"cmp"
	"context"
	_ "embed"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/k8sp/cuda/integration/guest/plan"
)

//go:embed scripts/boot.sh
var bootScript string

// Machine is a virtual machine: a kernel under plain emulation, without a network, whose
// only program is ours (integration/guest).
type Machine struct {
	// Kernel is the kernel's image on this machine.
	Kernel string
	// Arch is the machine's, by Go's name, amd64 or arm64; empty is amd64.
	Arch string
	// Files are the files of this machine that the virtual one has, by their
	// absolute paths there. Modules that are compressed are unpacked; their
	// paths there should end in ".ko".
	Files map[string]string
	// Append are further words for the kernel's command line.
	Append string
	// Disk is a file that its only disk, an NVMe one, begins as; none where it is empty.
	Disk string
	// Memory is in MiB, 1024 where it is 0; the files are part of it.
	Memory int
}

// limit is when a machine that was started is taken to hang: far above what any takes.
const limit = 20 * time.Minute

// Install gives the machine module files of this machine and returns the part
// of a plan that loads them, in this order.
func (m *Machine) Install(files []string) []plan.Module {
	if m.Files == nil {
		m.Files = map[string]string{}
	}
	var load []plan.Module
	for _, file := range files {
		name, _, _ := strings.Cut(filepath.Base(file), ".ko")
		inside := "/modules/" + name + ".ko"
		m.Files[inside] = file
		load = append(load, plan.Module{File: inside})
	}
	return load
}

// Folder gives the machine the files of a folder of this machine, below a path
// there.
func (m *Machine) Folder(inside, dir string) error {
	if m.Files == nil {
		m.Files = map[string]string{}
	}
	return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() {
			m.Files[inside+strings.TrimPrefix(path, dir)] = path
		}
		return err
	})
}

// Outcome is what came of a plan.
type Outcome struct {
	// Results has one for every step.
	Results []plan.Result
	// Console is the whole log of the kernel, of all starts.
	Console string
	// Wrote says that there is something else on its disk now.
	Wrote bool
}

// Boot starts the machine and has it carry out the plan. A step in which the
// kernel crashes costs nothing but itself: the machine starts again for the
// steps after it. An error is that the machine did not run, or too long; the
// outcome is then what there is.
func (l *Lab) Boot(ctx context.Context, m Machine, steps plan.Plan) (Outcome, error) {
	if m.Arch == Arm64 {
		if err := l.arm64Image(ctx); err != nil {
			return Outcome{}, err
		}
	}
	files, err := l.initramfs(ctx, m)
	if err != nil {
		return Outcome{}, err
	}
	var all Outcome
	for len(all.Results) < len(steps) {
		left := steps[len(all.Results):]
		once, err := m.start(ctx, files, left)
		all.Results = append(all.Results, once.Results...)
		all.Console += once.Console
		all.Wrote = all.Wrote || once.Wrote
		if err != nil {
			return all, fmt.Errorf("boot %s: %w\n%s", filepath.Base(m.Kernel), err, tail(once.Console, 30))
		}
		if len(once.Results) < len(left) {
			all.Results = append(all.Results, plan.Result{Crashed: true, Errors: []string{tail(once.Console, 60)}})
		}
	}
	return all, nil
}

func (l *Lab) initramfs(ctx context.Context, m Machine) (initramfs, error) {
	guest, err := l.programFor(ctx, "guest", m.Arch)
	if err != nil {
		return nil, err
	}
	files := initramfs{}
	if err := files.add("/init", guest); err != nil {
		return nil, err
	}
	for name, file := range m.Files {
		if err := files.add(name, file); err != nil {
			return nil, err
		}
	}
	return files, nil
}

// start runs the machine once, until it powers off or crashes.
func (m Machine) start(ctx context.Context, files initramfs, steps plan.Plan) (Outcome, error) {
	dir, err := os.MkdirTemp("", "k8sp-cuda-boot-")
	if err != nil {
		return Outcome{}, err
	}
	defer os.RemoveAll(dir)
	content, err := json.Marshal(steps)
	if err != nil {
		return Outcome{}, err
	}
	files = maps.Clone(files)
	files[plan.File] = content
	if err := files.write(filepath.Join(dir, "initramfs")); err != nil {
		return Outcome{}, err
	}
	ran := m.qemu(ctx, dir)
	console, err := os.ReadFile(filepath.Join(dir, "console"))
	if err != nil {
		return Outcome{}, errors.Join(ran, err)
	}
	_, err = os.Stat(filepath.Join(dir, "wrote"))
	all := Outcome{Console: string(console), Wrote: err == nil}
	port, err := os.Open(filepath.Join(dir, "results"))
	if err != nil {
		return all, errors.Join(ran, err)
	}
	defer port.Close()
	all.Results, err = plan.ReadAll(port)
	return all, errors.Join(ran, err)
}

func (m Machine) qemu(ctx context.Context, dir string) error {
	memory := m.Memory
	if memory == 0 {
		memory = 1024
	}
	ctx, cancel := context.WithTimeoutCause(ctx, limit, fmt.Errorf("it did not end within %s", limit))
	defer cancel()
	// In a file, since it may hold what a shell would read.
	if err := os.WriteFile(filepath.Join(dir, "append"), []byte(m.Append), 0o644); err != nil {
		return err
	}
	mounts := []string{m.Kernel + ":/kernel"}
	if m.Disk != "" {
		mounts = append(mounts, m.Disk+":/disk")
	}
	image := Image
	if m.Arch == Arm64 {
		image = Arm64Image
	}
	err := container{
		image:  image,
		script: fmt.Sprintf("memory=%d\narch=%s\n", memory, cmp.Or(m.Arch, "amd64")) + bootScript,
		out:    dir,
		mounts: mounts,
	}.run(ctx)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}
