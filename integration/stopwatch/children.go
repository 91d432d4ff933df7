package main

import (
	"bytes"
	"os"
	"slices"
	"strconv"
	"time"
)

// every is how often to look for children: the steps of a build take seconds, and
// looking more often would take its share of the processors.
const every = 20 * time.Millisecond

// watch waits for the end of a process, adds up the time in which it had a descendant of
// one of the names, and returns the most memory that it held itself, in bytes.
func watch(pid int, names []string, done <-chan error) (busy time.Duration, peak int64, err error) {
	tick := time.NewTicker(every)
	defer tick.Stop()
	last, was := time.Now(), false
	for {
		select {
		case err := <-done:
			return busy, peak, err
		case <-tick.C:
			is, now := len(names) > 0 && names[0] != "" && hasDescendant(pid, names), time.Now()
			if was && is {
				busy += now.Sub(last)
			}
			last, was = now, is
			peak = max(peak, peakOf(pid))
		}
	}
}

// peakOf is the largest resident set of a process so far, VmHWM of proc(5)'s
// /proc/PID/status, in bytes; 0 of one that has ended.
func peakOf(pid int) int64 {
	status, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/status")
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(status, []byte("\nVmHWM:"))
	fields := bytes.Fields(rest)
	if len(fields) == 0 {
		return 0
	}
	kib, _ := strconv.ParseInt(string(fields[0]), 10, 64)
	return kib * 1024
}

// nameLength is as much of a program's name as Linux keeps (TASK_COMM_LEN).
const nameLength = 15

// hasDescendant says whether a process has a descendant of one of the names: what builder
// confines has a helper of its own as its parent. What ends while it looks is none.
func hasDescendant(of int, names []string) bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	parents := map[int]int{}
	var named []int
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		name, parent, ok := parseStat(stat)
		if !ok {
			continue
		}
		parents[pid] = parent
		if slices.ContainsFunc(names, func(n string) bool { return n[:min(len(n), nameLength)] == name }) {
			named = append(named, pid)
		}
	}
	return slices.ContainsFunc(named, func(pid int) bool {
		for range len(parents) {
			if pid = parents[pid]; pid == of {
				return true
			}
		}
		return false
	})
}

// parseStat reads the name and the parent of proc(5)'s /proc/PID/stat:
// "12 (name) S 7 …", where the name may hold anything.
func parseStat(stat []byte) (name string, parent int, ok bool) {
	begin, end := bytes.IndexByte(stat, '('), bytes.LastIndexByte(stat, ')')
	if begin < 0 || end < begin {
		return "", 0, false
	}
	fields := bytes.Fields(stat[end+1:])
	if len(fields) < 2 {
		return "", 0, false
	}
	parent, err := strconv.Atoi(string(fields[1]))
	return string(stat[begin+1 : end]), parent, err == nil
}
