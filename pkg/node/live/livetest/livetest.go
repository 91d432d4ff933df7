// Package livetest has a stand-in for a running kernel, for tests: one that
// takes any module and shows it in a recorded host's proc and sys, as far as
// package live looks there.
package livetest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/ko"
)

// Kernel is the stand-in; it is a live.Kernel.
type Kernel struct {
	// Is is the release.
	Is string
	// Refuse are the errors with which it refuses modules, by name, and Says
	// what it logs when it is asked to take or to let go of one.
	Refuse map[string]error
	Says   map[string]string
	// Tried is what it answers to finit_module of no file: nil stands for
	// EBADF, by which a kernel says that it would take one.
	Tried error
	// Hidden is why its log cannot be read.
	Hidden error
	// Before is called before it takes a module, BeforeTry before it answers
	// to none.
	Before    func(name string)
	BeforeTry func()
	// Opened is what comes of making and opening a device.
	Opened error
	// FilesMade has the driver let its device files be made, which only root can;
	// else it forbids that.
	FilesMade bool
	// Calls are the modules that it was asked to take ("+nvidia NVreg_X=1")
	// and to let go of ("-nvidia").
	Calls []string

	t    testing.TB
	dir  string
	mu   sync.Mutex
	log  string
	list []string
}

// New is a kernel of that release that a host's folder shows; nothing is
// loaded.
func New(t testing.TB, dir, release string) *Kernel {
	k := &Kernel{Is: release, Refuse: map[string]error{}, Says: map[string]string{}, t: t, dir: dir}
	k.write("proc/sys/kernel/osrelease", release+"\n")
	k.write("proc/sys/kernel/random/boot_id", "0e8ac4a1-6b0c-4b2e-9d43-0f6a4c1e7b55\n")
	k.Show()
	return k
}

// Release is Is.
func (k *Kernel) Release() string { return k.Is }

// Try answers Tried.
func (k *Kernel) Try() error {
	if k.BeforeTry != nil {
		k.BeforeTry()
	}
	if k.Tried == nil {
		return unix.EBADF
	}
	return k.Tried
}

// Log is what it has logged.
func (k *Kernel) Log() (string, error) {
	k.mu.Lock()
	defer k.mu.Unlock()
	return k.log, k.Hidden
}

// Say has it log something by itself.
func (k *Kernel) Say(text string) {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.log += text
}

// Open answers Opened.
func (k *Kernel) Open(string, uint32, uint32) error { return k.Opened }

// Insert takes a module.
func (k *Kernel) Insert(module *os.File, parameters string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	file, err := ko.Open(fmt.Sprintf("/proc/self/fd/%d", module.Fd()))
	if err != nil {
		return unix.ENOEXEC
	}
	name := file.Value("name")
	if k.Before != nil {
		k.Before(name)
	}
	k.Calls = append(k.Calls, strings.TrimSpace("+"+name+" "+parameters))
	k.log += k.Says[name]
	if err := k.Refuse[name]; err != nil {
		return err
	}
	if slices.Contains(k.list, name) {
		return unix.EEXIST
	}
	k.Have(name, file.Value("version"), file.Value("srcversion"))
	for need := range strings.SplitSeq(file.Value("depends"), ",") {
		if slices.Contains(k.list, need) {
			k.Hold(need, name)
		}
	}
	return nil
}

// Remove lets go of a module that no other holds.
func (k *Kernel) Remove(name string) error {
	k.mu.Lock()
	defer k.mu.Unlock()
	k.Calls = append(k.Calls, "-"+name)
	k.log += k.Says["-"+name]
	if err := k.Refuse["-"+name]; err != nil {
		return err
	}
	i := slices.Index(k.list, name)
	if i < 0 {
		return unix.ENOENT
	}
	if len(k.holders(name)) > 0 {
		return unix.EAGAIN
	}
	k.list = slices.Delete(k.list, i, i+1)
	if err := os.RemoveAll(filepath.Join(k.dir, "sys/module", name)); err != nil {
		k.t.Error(err)
	}
	for _, other := range k.list {
		if err := os.RemoveAll(filepath.Join(k.dir, "sys/module", other, "holders", name)); err != nil {
			k.t.Error(err)
		}
	}
	k.Show()
	return nil
}

// Have has a module be loaded already.
func (k *Kernel) Have(name, version, srcversion string) {
	k.list = append(k.list, name)
	dir := "sys/module/" + name + "/"
	k.write(dir+"initstate", "live\n")
	k.write(dir+"version", version+"\n")
	k.write(dir+"srcversion", srcversion+"\n")
	if err := os.MkdirAll(filepath.Join(k.dir, dir, "holders"), 0o755); err != nil {
		k.t.Error(err)
	}
	k.Show()
}

// Hold has a module be held by another one.
func (k *Kernel) Hold(name, holder string) {
	k.write("sys/module/"+name+"/holders/"+holder, "")
	k.Show()
}

func (k *Kernel) holders(name string) []string {
	entries, err := os.ReadDir(filepath.Join(k.dir, "sys/module", name, "holders"))
	if err != nil {
		k.t.Error(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

// Show writes proc/modules, and proc/devices as the driver has it.
func (k *Kernel) Show() {
	var text strings.Builder
	for _, name := range slices.Backward(k.list) {
		holders := k.holders(name)
		users := "-"
		if len(holders) > 0 {
			users = strings.Join(holders, ",") + ","
		}
		fmt.Fprintf(&text, "%s 16384 %d %s Live 0x0000000000000000 (O)\n", name, len(holders), users)
	}
	k.write("proc/modules", text.String())
	devices := "Character devices:\n  1 mem\n"
	if slices.Contains(k.list, "nvidia") {
		devices += "195 nvidia\n195 nvidiactl\n"
		modify := 0
		if k.FilesMade {
			modify = 1
		}
		k.write("proc/driver/nvidia/params", fmt.Sprintf("ModifyDeviceFiles: %d\n", modify)+"DeviceFileUID: 0\nDeviceFileGID: 0\nDeviceFileMode: 438\n")
	}
	k.write("proc/devices", devices+"\nBlock devices:\n")
}

func (k *Kernel) write(name, text string) {
	path := filepath.Join(k.dir, name)
	err := os.MkdirAll(filepath.Dir(path), 0o755)
	if err == nil {
		err = os.WriteFile(path, []byte(text), 0o644)
	}
	if err != nil {
		k.t.Error(err)
	}
}
