package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"reflect"
	"runtime"
	"slices"
	"strconv"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/integration/guest/plan"
)

// confineWord is the argument by which this program is one that confines
// itself and becomes another.
const confineWord = "confine"

// confined is the program's arguments with this one before them.
func confined(argv []string, c plan.Confined) []string {
	if reflect.DeepEqual(c, plan.Confined{}) {
		return argv
	}
	how, _ := json.Marshal(c) // plain data: cannot fail
	return append([]string{"/init", confineWord, string(how)}, argv...)
}

// confine becomes the program, without what it is to be kept from. It returns
// only an error.
func confine(how string, argv []string) error {
	var c plan.Confined
	if err := json.Unmarshal([]byte(how), &c); err != nil {
		return err
	}
	runtime.LockOSThread() // namespaces and capabilities are a thread's
	if err := mounts(c); err != nil {
		return err
	}
	if c.Devices {
		if err := denyDevices(); err != nil {
			return err
		}
	}
	if c.User {
		// A thread of a program that has others cannot enter one: a new
		// process can.
		return inUserNamespace(argv)
	}
	if len(c.Keep) > 0 {
		for capability := range uintptr(unix.CAP_LAST_CAP + 1) {
			if !slices.Contains(c.Keep, capability) {
				c.Drop = append(c.Drop, capability)
			}
		}
		if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
			return fmt.Errorf("no new privileges: %w", err)
		}
	}
	for _, capability := range c.Drop {
		if err := unix.Prctl(unix.PR_CAPBSET_DROP, capability, 0, 0, 0); err != nil {
			return fmt.Errorf("drop capability %d: %w", capability, err)
		}
	}
	return unix.Exec(argv[0], argv, os.Environ())
}

func mounts(c plan.Confined) error {
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if c.Devices {
		if err := os.MkdirAll(plan.HostDev, 0o755); err != nil {
			return err
		}
		if err := unix.Mount("/dev", plan.HostDev, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind /dev: %w", err)
		}
		if err := unix.Mount("tmpfs", "/dev", "tmpfs", 0, "mode=755"); err != nil {
			return fmt.Errorf("mount /dev: %w", err)
		}
	}
	for _, dir := range c.Hidden {
		if err := unix.Mount("tmpfs", dir, "tmpfs", 0, ""); err != nil {
			return fmt.Errorf("hide %s: %w", dir, err)
		}
	}
	for _, dir := range c.Volumes {
		if err := os.MkdirAll(dir, 0o755); err != nil {
			return err
		}
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount %s: %w", dir, err)
		}
	}
	for _, dir := range c.ReadOnly {
		if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind %s: %w", dir, err)
		}
		if err := unix.Mount("", dir, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY, ""); err != nil {
			return fmt.Errorf("remount %s: %w", dir, err)
		}
	}
	return nil
}

// denyDevices puts this process in a device cgroup with the rules that Docker
// begins with.
func denyDevices() error {
	const hierarchy = "/cgroup"
	if err := os.MkdirAll(hierarchy, 0o755); err != nil {
		return err
	}
	if err := unix.Mount("cgroup", hierarchy, "cgroup", 0, "devices"); err != nil && !errors.Is(err, unix.EBUSY) {
		return fmt.Errorf("mount cgroup: %w", err)
	}
	group := filepath.Join(hierarchy, "container")
	if err := os.Mkdir(group, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	for _, rule := range []plan.Text{
		{Name: "devices.deny", Content: "a"},
		{Name: "devices.allow", Content: "c *:* m"},
		{Name: "devices.allow", Content: "b *:* m"},
		{Name: "devices.allow", Content: "c 1:* rwm"},
		{Name: "cgroup.procs", Content: strconv.Itoa(os.Getpid())},
	} {
		if err := os.WriteFile(filepath.Join(group, rule.Name), []byte(rule.Content), 0o644); err != nil {
			return err
		}
	}
	return nil
}

// inUserNamespace runs the program in a user namespace and ends as it does.
func inUserNamespace(argv []string) error {
	process, err := os.StartProcess(argv[0], argv, &os.ProcAttr{
		Files: []*os.File{os.Stdin, os.Stdout, os.Stderr},
		Sys: &syscall.SysProcAttr{
			Cloneflags:  syscall.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: 0, Size: 1}},
		},
	})
	if err != nil {
		return err
	}
	state, err := process.Wait()
	if err != nil {
		return err
	}
	os.Exit(state.ExitCode())
	return nil
}
