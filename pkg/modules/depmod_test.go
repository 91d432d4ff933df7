package modules_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

// depmod stands in for depmod(8): it sees what that would see, and leaves
// files as kmod's does.
type depmod struct {
	args  []string
	order string
	// leaves are the files that it writes among the modules.
	leaves map[string]string
	err    error
}

func (d *depmod) Run(_ context.Context, c command.Command) error {
	d.args = c.Args
	dir := filepath.Join(c.Args[2], "lib", "modules", c.Args[3])
	order, err := os.ReadFile(filepath.Join(dir, "modules.order"))
	if err != nil {
		return err
	}
	d.order = string(order)
	for name, text := range d.leaves {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	if d.err != nil {
		fmt.Fprintln(c.Output, "depmod: ERROR: no space")
	}
	return d.err
}

// options are those of two modules in a folder of their own.
func options(t *testing.T, runner command.Runner) modules.IndexOptions {
	t.Helper()
	o := modules.IndexOptions{
		Runner: runner, Scratch: t.TempDir(), Dir: t.TempDir(), Release: "6.1.192-coreos-r1",
		Modules: []modules.Entry{{File: "nvidia.ko"}, {File: "nvidia-uvm.ko"}},
	}
	for _, e := range o.Modules {
		if err := os.WriteFile(filepath.Join(o.Dir, e.File), []byte("ELF"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return o
}

func TestIndex(t *testing.T) {
	runner := &depmod{leaves: map[string]string{
		"modules.dep": "nvidia-uvm.ko: nvidia.ko\n", "modules.dep.bin": "\xb0\x07\xf4\x57", "modules.devname": "", "modules.builtin.bin": "",
	}}
	o := options(t, runner)
	files, err := modules.Index(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	var listed []string
	for _, f := range files {
		listed = append(listed, f.Name)
	}
	if diff := cmp.Diff([]string{"modules.dep", "modules.dep.bin", "modules.order"}, listed); diff != "" {
		t.Error(diff)
	}
	if f := files[1]; f.Size != 4 || f.SHA256 != "16d4b29c07ec45fe489a095f28cb72e11ef7ce1214feb60b5c70e59f0eb7aa41" {
		t.Errorf("listed %+v", f)
	}
	if len(runner.args) != 4 || filepath.Dir(runner.args[2]) != o.Scratch {
		t.Fatalf("ran %q", runner.args)
	}
	if diff := cmp.Diff([]string{"depmod", "-b", runner.args[2], "6.1.192-coreos-r1"}, runner.args); diff != "" {
		t.Error(diff)
	}
	if diff := cmp.Diff("nvidia.ko\nnvidia-uvm.ko\n", runner.order); diff != "" {
		t.Error(diff)
	}
	want := []string{"modules.dep", "modules.dep.bin", "modules.order", "nvidia-uvm.ko", "nvidia.ko"}
	if diff := cmp.Diff(want, entries(t, o.Dir)); diff != "" {
		t.Error(diff)
	}
	for _, name := range want {
		if info, err := os.Stat(filepath.Join(o.Dir, name)); err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	if left := entries(t, o.Scratch); len(left) > 0 {
		t.Errorf("left in scratch: %q", left)
	}
}

func TestIndexFails(t *testing.T) {
	tests := []struct {
		name   string
		runner depmod
		want   string
	}{
		{"depmod is not there", depmod{err: fmt.Errorf("start depmod: %w", exec.ErrNotFound)}, "without depmod"},
		{"depmod fails", depmod{err: &command.ExitError{Program: "depmod", Code: 1, State: "exit status 1"}}, "depmod: exit status 1: depmod: ERROR: no space"},
		{"depmod does nothing", depmod{}, "left no modules.dep.bin"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			o := options(t, &tt.runner)
			_, err := modules.Index(t.Context(), o)
			if err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Fatalf("error %v, want %q", err, tt.want)
			}
			if got := stage.ExitCode(err); got != stage.Publish.ExitCode() {
				t.Errorf("exit code %d", got)
			}
			if left := entries(t, o.Scratch); len(left) > 0 {
				t.Errorf("left in scratch: %q", left)
			}
		})
	}
	canceled := depmod{err: context.Canceled}
	if _, err := modules.Index(t.Context(), options(t, &canceled)); !errors.Is(err, context.Canceled) || stage.ExitCode(err) != stage.ExitInterrupted {
		t.Errorf("an interrupt became %v", err)
	}
}

// entries are the names in a folder.
func entries(t *testing.T, dir string) []string {
	t.Helper()
	list, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range list {
		names = append(names, e.Name())
	}
	return names
}
