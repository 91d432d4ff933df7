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

// watch waits for the end of a process and adds up the time in which it had a
// child of one of the names.
func watch(pid int, names []string, done <-chan error) (busy time.Duration, err error) {
	if len(names) == 0 || names[0] == "" {
		return 0, <-done
	}
	tick := time.NewTicker(every)
	defer tick.Stop()
	last, was := time.Now(), false
	for {
		select {
		case err := <-done:
			return busy, err
		case <-tick.C:
			is, now := hasChild(pid, names), time.Now()
			if was && is {
				busy += now.Sub(last)
			}
			last, was = now, is
		}
	}
}

// nameLength is as much of a program's name as Linux keeps (TASK_COMM_LEN).
const nameLength = 15

// hasChild says whether a process has a child of one of the names. What ends
// while it looks is none.
func hasChild(parent int, names []string) bool {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return false
	}
	for _, e := range entries {
		if _, err := strconv.Atoi(e.Name()); err != nil {
			continue
		}
		stat, err := os.ReadFile("/proc/" + e.Name() + "/stat")
		if err != nil {
			continue
		}
		name, of, ok := parseStat(stat)
		if ok && of == parent && slices.ContainsFunc(names, func(n string) bool { return n[:min(len(n), nameLength)] == name }) {
			return true
		}
	}
	return false
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
