package main

import (
	"testing"
)

func TestRun(t *testing.T) {
	r, code, err := run([]string{"sh", "-c", "sleep 1; exit 3"}, []string{"sleep"})
	if err != nil {
		t.Fatal(err)
	}
	if code != 3 {
		t.Errorf("exit status %d, want 3", code)
	}
	if r.Seconds < 1 || r.ChildSeconds <= 0 || r.ChildSeconds > r.Seconds {
		t.Errorf("%+v: want at least a second, a part of it a child's", r)
	}
	if r.PeakBytes < 100<<10 || r.PeakBytes > 1<<30 {
		t.Errorf("a shell held %d bytes", r.PeakBytes)
	}
	// A child of a child counts as its time, and its memory does not.
	const greedy = "head -c 64m /dev/zero | tail -c 64m >/dev/null"
	r, _, err = run([]string{"sh", "-c", "sh -c '" + greedy + "; sleep 1'; true"}, []string{"sleep"})
	if err != nil || r.ChildSeconds <= 0 || r.PeakBytes > 32<<20 {
		t.Errorf("%+v, %v: want a part of the time, and not the memory of tail", r, err)
	}
	if _, _, err := run([]string{"/absent/program"}, nil); err == nil {
		t.Error("a program that is not there ran")
	}
}

func TestOthersChildrenAreNotCounted(t *testing.T) {
	r, _, err := run([]string{"sh", "-c", "sleep 0.1; true"}, []string{"make"})
	if err != nil {
		t.Fatal(err)
	}
	if r.ChildSeconds != 0 {
		t.Errorf("%g s of children, want none", r.ChildSeconds)
	}
}

func TestParseStat(t *testing.T) {
	for stat, want := range map[string]struct {
		name   string
		parent int
		ok     bool
	}{
		"12 (nvidia-installe) S 7 12 0": {"nvidia-installe", 7, true},
		"12 (a) b (c) R 7 12":           {"a) b (c", 7, true},
		"12 (make":                      {"", 0, false},
		"12 (make)":                     {"", 0, false},
	} {
		name, parent, ok := parseStat([]byte(stat))
		if ok != want.ok || (ok && (name != want.name || parent != want.parent)) {
			t.Errorf("%s: %q, %d, %t", stat, name, parent, ok)
		}
	}
}
