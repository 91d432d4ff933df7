package main

import (
	"bufio"
	"context"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"time"
)

// machine is what figures depend on.
type machine struct {
	cpu                     string
	cpus                    int
	memory                  float64 // bytes
	kernel, docker, storage string
	golang, git             string
	loadBefore              string // the load average as the measuring began
	date                    time.Time
}

func describeMachine(ctx context.Context) (machine, error) {
	m := machine{cpus: runtime.NumCPU(), date: time.Now()}
	var err error
	if m.docker, err = dockerOutput(ctx, "version", "--format", "{{.Server.Version}}"); err != nil {
		return m, err
	}
	if m.storage, err = dockerOutput(ctx, "info", "--format", "{{.Driver}}"); err != nil {
		return m, err
	}
	golang, err := exec.CommandContext(ctx, "go", "env", "GOVERSION").Output()
	if err != nil {
		return m, fmt.Errorf("go env: %w", err)
	}
	m.golang = strings.TrimPrefix(strings.TrimSpace(string(golang)), "go")
	if m.cpu, err = firstValue("/proc/cpuinfo", "model name"); err != nil {
		return m, err
	}
	memory, err := firstValue("/proc/meminfo", "MemTotal")
	if err != nil {
		return m, err
	}
	kib, err := strconv.ParseFloat(strings.TrimSuffix(memory, " kB"), 64)
	if err != nil {
		return m, fmt.Errorf("/proc/meminfo: %w", err)
	}
	m.memory = kib * 1024
	release, err := os.ReadFile("/proc/sys/kernel/osrelease")
	if err != nil {
		return m, err
	}
	m.kernel = strings.TrimSpace(string(release))
	load, err := os.ReadFile("/proc/loadavg")
	m.loadBefore, _, _ = strings.Cut(string(load), " ")
	return m, err
}

// firstValue is the value of the first line "KEY : VALUE" of a file in /proc.
func firstValue(name, key string) (string, error) {
	file, err := os.Open(name)
	if err != nil {
		return "", err
	}
	defer file.Close()
	lines := bufio.NewScanner(file)
	for lines.Scan() {
		if k, v, ok := strings.Cut(lines.Text(), ":"); ok && strings.TrimSpace(k) == key {
			return strings.TrimSpace(v), nil
		}
	}
	return "", fmt.Errorf("%s has no %q", name, key)
}
