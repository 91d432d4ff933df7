package modules

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/stage"
)

// IndexOptions say what to index.
type IndexOptions struct {
	// Runner runs depmod(8).
	Runner command.Runner
	// Scratch is a folder for what depmod wants to see around the modules.
	Scratch string
	// Dir holds the modules and receives the indexes.
	Dir string
	// Release is the kernel's, "6.1.0-49-amd64".
	Release string
	// Modules are those in Dir, in load order.
	Modules []Entry
}

// orderFile is where depmod learns the order of modules, which its indexes
// follow; without it, they would be in the order of the folder's names on disk.
const orderFile = "modules.order"

// Index makes and lists modules.dep and the other indexes of modprobe(8) beside the
// modules, so that a folder that a host has, or links, as lib/modules/REL
// under some root serves `modprobe -d ROOT MODULE`. The modules of a
// folder are all that modprobe then sees: in-tree modules that they need are
// loaded first, from the host's own.
//
// The indexes are depmod's, since kmod's modprobe reads only its binary ones
// (modules.dep.bin); the text is for people and for busybox. The same modules
// give the same bytes. The list is sorted by name. An error is of the publish
// stage.
func Index(ctx context.Context, o IndexOptions) ([]File, error) {
	files, err := o.index(ctx)
	var known *stage.Error
	if err == nil || errors.As(err, &known) {
		return files, err
	}
	return nil, stage.Wrap(stage.Publish, err, "the indexes that modprobe reads cannot be made", "look at the cause, and run again")
}

func (o IndexOptions) index(ctx context.Context) ([]File, error) {
	var order strings.Builder
	for _, e := range o.Modules {
		order.WriteString(e.File + "\n")
	}
	base, err := beneath.MkdirTemp(o.Scratch, "depmod-")
	if err != nil {
		return nil, err
	}
	defer beneath.RemoveAll(base)
	dir, err := o.rooted(base)
	if err == nil {
		err = beneath.WriteFile(filepath.Join(dir, orderFile), []byte(order.String()), 0o644)
	}
	if err != nil {
		return nil, err
	}
	var output bytes.Buffer
	err = o.Runner.Run(ctx, command.Command{Args: []string{"depmod", "-b", base, o.Release}, Writes: []string{base}, Output: &output})
	var exit *command.ExitError
	switch {
	case errors.As(err, &exit):
		return nil, fmt.Errorf("%w: %s", err, strings.TrimSpace(output.String()))
	case errors.Is(err, command.ErrNotFound):
		return nil, stage.Wrap(stage.Publish, err, "the indexes that modprobe reads cannot be made without depmod", "install kmod, or run builder in its image, which has it")
	case err != nil:
		return nil, err
	}
	if err := gatherIndexes(dir, o.Dir); err != nil {
		return nil, err
	}
	return tidy(o.Dir)
}

// rooted makes the modules appear as those of their release under base, which is
// the only way in which depmod finds them, and returns their folder there.
func (o IndexOptions) rooted(base string) (string, error) {
	dir := filepath.Join(base, "lib", "modules", o.Release)
	if err := beneath.MkdirAll(dir, 0o755); err != nil {
		return "", err
	}
	for _, e := range o.Modules {
		from, to := filepath.Join(o.Dir, e.File), filepath.Join(dir, e.File)
		err := beneath.Link(from, to)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a file system without
			err = command.CopyLeft(from, to)
		}
		if err != nil {
			return "", err
		}
	}
	return dir, nil
}

// gatherIndexes copies what depmod left beside modules in one folder to another.
func gatherIndexes(from, to string) error {
	found, err := beneath.Glob(from, "modules.*")
	for _, path := range found {
		err = errors.Join(err, command.CopyLeft(path, filepath.Join(to, filepath.Base(path))))
	}
	return err
}

// tidy removes the indexes in which there is nothing, of devices and of what
// is built into the kernel, and lists the others.
func tidy(dir string) ([]File, error) {
	found, err := beneath.Glob(dir, "modules.*")
	if err != nil {
		return nil, err
	}
	var files []File
	for _, path := range found {
		f, err := describeFile(path)
		switch {
		case err != nil:
		case f.Size == 0:
			err = beneath.Remove(path)
		default:
			files = append(files, f)
		}
		if err != nil {
			return nil, err
		}
	}
	if !slices.ContainsFunc(files, func(f File) bool { return f.Name == "modules.dep.bin" }) {
		return nil, errors.New("depmod left no modules.dep.bin")
	}
	return files, nil
}
