package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"sync"
	"syscall"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/integration/guest/plan"
)

// held is what goes on from one step to the next.
type held struct {
	files
	daemon *daemon
}

// files are files that are held open.
type files []*os.File

func (f *files) open(name string) error {
	file, err := os.Open(name)
	if err == nil {
		*f = append(*f, file)
	}
	return err
}

func (f *files) close() {
	for _, file := range *f {
		file.Close()
	}
	*f = nil
}

// do carries out one step.
func do(step plan.Step, log kernelLog, held *held) plan.Result {
	var result plan.Result
	fail := func(err error) {
		if err != nil {
			result.Errors = append(result.Errors, err.Error())
		}
	}
	for _, name := range step.Remove {
		fail(unload(name))
	}
	var loaded []string
	for _, m := range step.Load {
		answer, err := load(m, log)
		if err != nil {
			fail(err)
			break
		}
		result.Load = append(result.Load, answer)
		if answer.Errno != 0 {
			break
		}
		name, err := newest()
		fail(err)
		loaded = append(loaded, name)
	}
	if step.Unload {
		for _, name := range slices.Backward(loaded) {
			fail(unload(name))
		}
	}
	if held.daemon != nil {
		held.daemon.forget()
	}
	for _, f := range step.Write {
		fail(write(f))
	}
	if step.Start != nil {
		var err error
		held.daemon, err = startDaemon(confined(step.Start, step.Confined))
		fail(err)
	}
	if step.Until != "" && held.daemon != nil {
		fail(held.daemon.await(step.Until))
	}
	for _, name := range step.Open {
		fail(held.open(name))
	}
	if step.Close {
		held.close()
	}
	if step.Run != nil {
		result.Beside = make([]plan.Ran, len(step.Beside))
		var beside sync.WaitGroup
		var mutex sync.Mutex
		for i, argv := range step.Beside {
			beside.Go(func() {
				ran, err := runProgram(argv)
				mutex.Lock()
				defer mutex.Unlock()
				fail(err)
				if err == nil {
					result.Beside[i] = *ran
				}
			})
		}
		ran, err := runProgram(confined(step.Run, step.Confined))
		beside.Wait()
		fail(err)
		result.Ran = ran
	}
	if step.Stop && held.daemon != nil {
		ran, err := held.daemon.stop()
		fail(err)
		result.Ran = ran
	}
	for _, name := range step.Read {
		content, err := os.ReadFile(name)
		fail(err)
		if err == nil {
			if result.Read == nil {
				result.Read = map[string][]byte{}
			}
			result.Read[name] = content
		}
	}
	for _, name := range step.Stat {
		if what := stat(name); what != "" {
			if result.Stat == nil {
				result.Stat = map[string]string{}
			}
			result.Stat[name] = what
		}
	}
	return result
}

func write(f plan.Text) error {
	boot, err := os.ReadFile("/proc/sys/kernel/random/boot_id")
	if err != nil {
		return err
	}
	filled := strings.NewReplacer(plan.Boot, strings.TrimSpace(string(boot)))
	return os.WriteFile(filled.Replace(f.Name), []byte(filled.Replace(f.Content)), 0o644)
}

// stat says what a file is; "" of one that is not there.
func stat(name string) string {
	info, err := os.Lstat(name)
	if err != nil {
		return ""
	}
	mode := strings.TrimPrefix(info.Mode().String(), "D") // of devices, ls has a letter less
	number := info.Sys().(*syscall.Stat_t).Rdev
	return fmt.Sprintf("%s %d:%d", mode, unix.Major(number), unix.Minor(number))
}

// load asks the kernel to take a module. The error is one of ours.
func load(m plan.Module, log kernelLog) (plan.Loaded, error) {
	file, err := os.Open(m.File)
	if err != nil {
		return plan.Loaded{}, err
	}
	defer file.Close()
	log.lines() // what is there is not this module's
	err = unix.FinitModule(int(file.Fd()), m.Parameters, 0)
	answer := plan.Loaded{File: m.File, Log: log.lines()}
	if errno, ok := errors.AsType[unix.Errno](err); ok {
		answer.Errno, answer.Error = int(errno), unix.ErrnoName(errno)
	}
	return answer, nil
}

// newest is the name of the module that was loaded last, whatever its file is
// called: /proc/modules begins with it.
func newest() (string, error) {
	modules, err := os.ReadFile("/proc/modules")
	name, _, _ := strings.Cut(string(modules), " ")
	return name, err
}

func unload(name string) error {
	if err := unix.DeleteModule(name, unix.O_NONBLOCK); err != nil {
		return fmt.Errorf("unload %s: %w", name, err)
	}
	return nil
}

func runProgram(argv []string) (*plan.Ran, error) {
	var stdout, stderr bytes.Buffer
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err := cmd.Run()
	var failed *exec.ExitError
	if err != nil && !errors.As(err, &failed) {
		return nil, fmt.Errorf("run %s: %w", argv[0], err)
	}
	return &plan.Ran{Exit: cmd.ProcessState.ExitCode(), Stdout: stdout.Bytes(), Stderr: stderr.Bytes()}, nil
}
