package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/gittest"
)

// neglected is a file of the kernel that no list of needed files names.
const neglected = "lib/neglected.h"

// withNeglected adds the file to the fixture's kernel.
func withNeglected(t *testing.T) (f *fixture, inShare string) {
	f = newFixture(t)
	write(t, filepath.Join(f.repository, neglected), 0o644, "/* needed after all */\n")
	gittest.Run(t, f.repository, "add", "--all")
	gittest.Run(t, f.repository, "commit", "--quiet", "--message=more")
	gittest.Run(t, f.repository, "tag", "--force", "v6.1.192-coreos")
	return f, filepath.Join(f.share, "linux", neglected)
}

// What a build turns out to need beyond the lists is fetched, once.
func TestSourceIsCompleted(t *testing.T) {
	t.Parallel()
	for name, lacking := range map[string]func(*testing.T, *fixture, string){
		"where prepare lacks a file": func(t *testing.T, f *fixture, file string) {
			make, err := os.ReadFile(filepath.Join(f.bin, "make"))
			if err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(f.bin, "make"), 0o755, string(make)+fmt.Sprintf(
				"[ -f %s ] || { echo \"make: *** No rule to make target '%s', needed by 'prepare0'.  Stop.\"; exit 2; }\n", file, neglected))
		},
		"where the build lacks a file": func(t *testing.T, f *fixture, file string) {
			f.writeInstaller(t, fixtureDriver, fmt.Sprintf(`left=$(dirname "$0")/left
[ ! -e "$left" ] || exit 3
touch "$left"
[ -f %s ] || { echo "   nv.c:1:10: fatal error: %s: No such file or directory" >>"$log"; exit 1; }
cp "$modules"/*.ko "$install"`, file, neglected))
		},
	} {
		t.Run(name, func(t *testing.T) {
			f, file := withNeglected(t)
			lacking(t, f, file)
			o := f.build(t)
			if n := strings.Count(o.stderr, `"path":"`+neglected+`"`); n != 1 {
				t.Errorf("the log names the file %d times:\n%s", n, o.stderr)
			}
			if _, err := os.Stat(file); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestSourceIsNotCompletedForOthersFailures(t *testing.T) {
	t.Parallel()
	f, file := withNeglected(t)
	f.writeInstaller(t, fixtureDriver, `echo "   nv.c:1:10: fatal error: nv.h: No such file or directory" >>"$log"; exit 1`)
	if o := f.run(t); o.code != 14 || strings.Contains(o.stderr, "completing") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the source was completed: %v", err)
	}
}

func TestSourceFlags(t *testing.T) {
	t.Parallel()
	f, file := withNeglected(t)
	if o := f.run(t, "--offline"); o.code != 0 {
		t.Errorf("a repository in a folder needs the network: %s", o.stderr)
	}
	if o := f.run(t, "--source-commit", strings.Repeat("ab", 20)); o.code != 12 || !strings.Contains(o.stderr, "source-commit") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if _, err := os.Stat(file); !os.IsNotExist(err) {
		t.Errorf("the whole source is there: %v", err)
	}
	f.environ = append(f.environ, "BUILDER_FULL_SOURCE=true", "BUILDER_DEBUG_INFO=true")
	f.build(t)
	if _, err := os.Stat(file); err != nil {
		t.Error(err)
	}
}

func TestSourceFromATree(t *testing.T) {
	t.Parallel()
	f, _ := withNeglected(t)
	if err := os.RemoveAll(filepath.Join(f.repository, ".git")); err != nil {
		t.Fatal(err)
	}
	f.environ = []string{
		"BUILDER_SHARE=" + f.share, "BUILDER_HOST_ROOT=" + f.host, "BUILDER_LOG_FORMAT=json",
		"BUILDER_SOURCE=" + f.repository, "BUILDER_OFFLINE=true",
	}
	f.build(t)
	if again := f.build(t); !strings.Contains(again.stderr, "nothing to build") {
		t.Errorf("the rerun builds:\n%s", again.stderr)
	}
	write(t, filepath.Join(f.repository, "include/new.h"), 0o644, "/* another kernel */\n")
	if again := f.build(t); strings.Contains(again.stderr, "nothing to build") {
		t.Error("a source that changed makes no other build")
	}
	if _, err := os.Stat(filepath.Join(f.share, "linux")); !os.IsNotExist(err) {
		t.Errorf("something was checked out: %v", err)
	}
}

// TestSourceAlone leaves the source, without a driver package, and a build that
// may not use the network then has it.
func TestSourceAlone(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	drivers := filepath.Join(f.share, "cuda")
	if err := os.Rename(drivers, drivers+".later"); err != nil {
		t.Fatal(err)
	}
	linux := filepath.Join(f.share, "linux")
	if o := f.run(t, "source"); o.code != 0 || o.stdout != linux+"\n" {
		t.Fatalf("exit code %d, stdout %q\n%s", o.code, o.stdout, o.stderr)
	}
	var result struct {
		Dir, Ref, Commit string
		Reused           bool
	}
	again := f.run(t, "source", "--offline", "--output=json")
	if err := json.Unmarshal([]byte(again.stdout), &result); err != nil {
		t.Fatalf("%v\n%s%s", err, again.stdout, again.stderr)
	}
	if !result.Reused || result.Dir != linux || result.Ref != "refs/tags/v6.1.192-coreos" || len(result.Commit) != 40 {
		t.Errorf("result %+v", result)
	}
	if entries, _ := os.ReadDir(filepath.Join(f.share, "modules")); len(entries) > 0 {
		t.Errorf("it published %v", entries)
	}
	if err := os.Rename(drivers+".later", drivers); err != nil {
		t.Fatal(err)
	}
	if o := f.run(t, "--offline"); o.code != 0 {
		t.Errorf("a build of the share that is ready: exit code %d\n%s", o.code, o.stderr)
	}
}
