//go:build integration

package integration

import (
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
)

// TestImageIsSmall holds the image to what a user was promised to have to
// store: with one compiler 280 MB over Debian, with each further one 70 MB.
func TestImageIsSmall(t *testing.T) {
	image, base := needImage(t), needTrixie(t)
	const (
		one, further = 280e6, 70e6
		// A third of it is Kubernetes' client, go-containerregistry and Prometheus' client
		// with protobuf.
		binary = 24e6
	)
	compilers := len(strings.Fields(docker(t, "run", "--rm", "--entrypoint", "bash", image, "-c", "ls /usr/bin/gcc-[0-9]*")))
	if compilers == 0 {
		t.Fatal("the image has no compiler")
	}
	limit := one + further*float64(compilers-1)
	if over := imageSize(t, image) - imageSize(t, base); over > limit {
		t.Errorf("the image has %.0f MB over its base with %d compilers, want at most %.0f", over/1e6, compilers, limit/1e6)
	}
	if size := number(t, docker(t, "run", "--rm", "--entrypoint", "stat", image, "--format=%s", "/usr/local/bin/builder")); size > binary {
		t.Errorf("builder has %.1f MB, want at most %.1f", size/1e6, binary/1e6)
	}
}

// TestWhatIsNotUnpackedIsNotMissed has every compiler of the image do what
// kbuild has it do for the programs of its own, and looks for what it runs.
func TestWhatIsNotUnpackedIsNotMissed(t *testing.T) {
	out := docker(t, "run", "--rm", "--network", "none", "--entrypoint", "bash", needImage(t), "-euc", `
		cd /tmp
		printf '#include <libelf.h>\n#include <elfutils/libdw.h>\n#include <openssl/cms.h>\n#include <pthread.h>\n#include <math.h>\nint main(void) { return elf_version(EV_CURRENT) == EV_NONE || dwarf_errno(); }\n' >host.c
		printf 'void f(void) {}\n' >module.c
		for compiler in /usr/bin/gcc-[0-9]*; do
			"$compiler" -O2 -g host.c -o host -ldw -lelf -lz -lcrypto -lssl -lpthread -lm -ldl
			./host
			"$compiler" -g -c module.c
		done
		python3 -c 'import argparse, json, re, subprocess'
		perl -e 'use strict; use Cwd; use POSIX; use File::Basename; use Getopt::Long'
		pahole --version >/dev/null; bc --version >/dev/null; bison --version >/dev/null; flex --version >/dev/null; m4 --version >/dev/null
		depmod --version >/dev/null; cpio --version >/dev/null; zstd --version >/dev/null; xz --version >/dev/null
		dpkg --audit
		ls /usr/share/doc/libc6/copyright`)
	if want := "/usr/share/doc/libc6/copyright"; out != want {
		t.Errorf("it says %q, want %q", out, want)
	}
}

// TestNoSetuid: no program of the image makes more of who runs it.
func TestNoSetuid(t *testing.T) {
	found := docker(t, "run", "--rm", "--network", "none", "--entrypoint", "find", needImage(t), "/", "-xdev", "-perm", "/6000", "-type", "f")
	if strings.TrimSpace(found) != "" {
		t.Errorf("setuid or setgid: %s", found)
	}
}

func imageSize(t *testing.T, name string) float64 {
	t.Helper()
	return number(t, docker(t, "image", "inspect", "--format", "{{.Size}}", name))
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

// TestMakeOfTheImage has the image's make take what saves it looks at a driver's tests: this
// machine's may be too old for it.
func TestMakeOfTheImage(t *testing.T) {
	test := filepath.Join(t.TempDir(), "conftest.test")
	build := exec.CommandContext(t.Context(), "go", "test", "-c", "-o", test, "../pkg/cuda/conftest")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	out, err := exec.CommandContext(t.Context(), "docker", "run", "--rm", "--volume", test+":/conftest.test:ro", "--entrypoint", "/conftest.test",
		needImage(t), "-test.run", "^TestLookOnce$", "-test.v").CombinedOutput()
	if err != nil || !strings.Contains(string(out), "by a make that knows it: true") {
		t.Errorf("%v\n%s", err, out)
	}
}
