// Command guest is the only program of the lab's virtual machines: it is
// /init, carries out the plan in its initramfs, writes the results to the
// second serial port and powers off. There is no shell beside it.
package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"runtime"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/integration/guest/plan"
)

// results is the serial port that the lab reads the results from: the second of a PC,
// whose first one is the kernel's console. An arm64 machine's console is of another kind.
func results() string {
	if runtime.GOARCH == "arm64" {
		return "/dev/ttyS0"
	}
	return "/dev/ttyS1"
}

func main() {
	if len(os.Args) > 2 && os.Args[1] == confineWord {
		fmt.Fprintln(os.Stderr, "guest:", confine(os.Args[2], os.Args[3:]))
		os.Exit(1)
	}
	// The kernel starts its first program with none.
	if err := errors.Join(os.Setenv("PATH", "/usr/bin:/bin"), run()); err != nil {
		fmt.Fprintln(os.Stderr, "guest:", err)
	}
	// Process 1 must not end. Where the machine has no power switch, a reset
	// ends it as well.
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_POWER_OFF)
	_ = unix.Reboot(unix.LINUX_REBOOT_CMD_RESTART)
}

func run() error {
	if err := mount(); err != nil {
		return err
	}
	content, err := os.ReadFile(plan.File)
	if err != nil {
		return err
	}
	var steps plan.Plan
	if err := json.Unmarshal(content, &steps); err != nil {
		return fmt.Errorf("%s: %w", plan.File, err)
	}
	log, err := openLog()
	if err != nil {
		return err
	}
	port, err := openPort(results())
	if err != nil {
		return err
	}
	out, err := plan.NewWriter(port)
	if err != nil {
		return err
	}
	var held held
	for _, step := range steps {
		if err := out.Write(do(step, log, &held)); err != nil {
			return err
		}
		if err := port.drain(); err != nil {
			return err
		}
	}
	return nil
}

// mount mounts what a host has. A kernel without securityfs is as good.
func mount() error {
	for _, m := range []struct{ kind, dir string }{
		{"proc", "/proc"}, {"sysfs", "/sys"}, {"devtmpfs", "/dev"}, {"securityfs", "/sys/kernel/security"},
	} {
		if err := os.MkdirAll(m.dir, 0o755); err != nil && m.kind != "securityfs" {
			return err
		}
		err := unix.Mount(m.kind, m.dir, m.kind, 0, "")
		mounted := err == nil || errors.Is(err, unix.EBUSY)
		if !mounted && m.kind != "securityfs" {
			return fmt.Errorf("mount %s: %w", m.kind, err)
		}
	}
	return nil
}
