package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// laidOut are the libraries and programs that a build left for containers.
func (f *fixture) laidOut(t *testing.T) []string {
	t.Helper()
	found, err := filepath.Glob(filepath.Join(f.share, "driver", fixtureDriver, "usr", "*", "*"))
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, path := range found {
		names = append(names, filepath.Base(path))
	}
	return names
}

func TestUserSpaceIsLaidOut(t *testing.T) {
	t.Parallel()
	for part, want := range map[string]string{
		"":        "nvidia-smi libcuda.so.1 libcuda.so." + fixtureDriver,
		"compute": "nvidia-smi libcuda.so.1 libcuda.so." + fixtureDriver,
		"all":     "nvidia-smi libGLX_nvidia.so." + fixtureDriver + " libcuda.so.1 libcuda.so." + fixtureDriver,
		"none":    "",
	} {
		t.Run(part, func(t *testing.T) {
			for _, form := range []string{"folder", "run"} {
				f := newFixture(t)
				if form == "run" {
					wholeRunFile(t, f)
				}
				args := []string{"--output=json"}
				if part != "" {
					args = append(args, "--user-space="+part)
				}
				o := f.run(t, args...)
				if o.code != 0 {
					t.Fatalf("%s: exit code %d\n%s", form, o.code, o.stderr)
				}
				if got := strings.Join(f.laidOut(t), " "); got != want {
					t.Errorf("%s: %q is laid out, want %q", form, got, want)
				}
				var result struct {
					UserSpace string `json:"user_space"`
				}
				if err := json.Unmarshal([]byte(o.stdout), &result); err != nil {
					t.Fatal(err)
				}
				wantPath := filepath.Join(f.share, "driver", fixtureDriver, "manifest.json")
				if want == "" {
					wantPath = ""
				}
				if result.UserSpace != wantPath {
					t.Errorf("%s: the result names %q, want %q", form, result.UserSpace, wantPath)
				}
			}
		})
	}
	f := newFixture(t)
	if o := f.run(t, "--user-space=display"); o.code != 2 || !strings.Contains(o.stderr, "compute, all, none") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
}

// TestUserSpaceAlone changes what makes the user-space side be laid out again,
// and nothing be built.
func TestUserSpaceAlone(t *testing.T) {
	t.Parallel()
	libcuda := filepath.Join("driver", fixtureDriver, "usr/lib64/libcuda.so."+fixtureDriver)
	for name, c := range map[string]struct {
		spoil func(t *testing.T, f *fixture)
		args  []string
		want  bool // that it is laid out again
	}{
		"nothing": {func(*testing.T, *fixture) {}, nil, false},
		"a library was altered": {func(t *testing.T, f *fixture) {
			write(t, filepath.Join(f.share, libcuda), 0o755, "altered")
		}, nil, true},
		"it was deleted":    {func(t *testing.T, f *fixture) { remove(t, filepath.Join(f.share, "driver")) }, nil, true},
		"more is asked for": {func(*testing.T, *fixture) {}, []string{"--user-space=all"}, true},
		"none is asked for": {func(*testing.T, *fixture) {}, []string{"--user-space=none"}, false},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFixture(t)
			wholeRunFile(t, f)
			f.build(t)
			c.spoil(t, f)
			before := f.results(t)
			plan := f.run(t, append(c.args, "--dry-run")...)
			if plan.code != 0 || strings.Contains(plan.stdout, "the driver's user-space side") != c.want {
				t.Errorf("exit code %d, the plan is\n%s", plan.code, plan.stdout)
			}
			o := f.run(t, c.args...)
			if o.code != 0 {
				t.Fatalf("exit code %d\n%s", o.code, o.stderr)
			}
			if strings.Contains(o.stderr, `"stage":"build"`) {
				t.Error("modules were built")
			}
			if strings.Contains(o.stderr, `"stage":"publish"`) != c.want || (f.results(t) != before) != c.want {
				t.Errorf("laid out again: %v\n%s", !c.want, o.stderr)
			}
			if text, err := os.ReadFile(filepath.Join(f.share, libcuda)); err != nil || string(text) != "libcuda.so."+fixtureDriver+"\n" {
				t.Errorf("libcuda is %q, %v", text, err)
			}
		})
	}
}

// TestUserSpaceOfAThinnedPackage builds modules from a folder of which only
// their sources were kept.
func TestUserSpaceOfAThinnedPackage(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	for _, name := range []string{"nvidia-smi", "libcuda.so." + fixtureDriver} {
		remove(t, filepath.Join(f.driver(fixtureDriver), name))
	}
	o := f.build(t)
	if !strings.Contains(o.stderr, "lacks libraries or programs that it lists") {
		t.Errorf("the log does not say what is missing:\n%s", o.stderr)
	}
	if got := f.laidOut(t); len(got) != 0 {
		t.Errorf("laid out %v", got)
	}
	if again := f.build(t); !strings.Contains(again.stderr, "nothing to build") || strings.Contains(again.stderr, `"stage":"publish"`) {
		t.Errorf("a second run has something to do:\n%s", again.stderr)
	}
}

func TestVerifyUserSpace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.build(t)
	dir := filepath.Join(f.share, "driver", fixtureDriver)
	o := f.run(t, "verify", dir)
	if o.code != 0 || strings.Count(o.stdout, "passed") != 3 || !strings.Contains(o.stdout, "usr/lib64/libcuda.so.1") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
	write(t, filepath.Join(dir, "usr/bin/nvidia-smi"), 0o755, "altered")
	o = f.run(t, "verify", dir)
	if o.code != 15 || !strings.Contains(o.stdout, "usr/bin/nvidia-smi is not the file of") {
		t.Errorf("exit code %d\n%s%s", o.code, o.stdout, o.stderr)
	}
}
