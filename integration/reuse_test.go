//go:build integration

package integration

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
)

// compilerFiles are what the image's compiler needs to say what it is.
var compilerFiles = []string{"/usr/bin/gcc-14", "/lib64/ld-linux-x86-64.so.2", "/lib/x86_64-linux-gnu/libc.so.6"}

// serves has the node that runs a kernel find, in the share, what was made of that
// kernel's image alone. It has builder's binary and the image's compiler, no driver
// package and no network, and looks at itself in each way in which a container may
// be let: with the host's root and without, with the right to see the addresses in
// kallsyms and without.
func serves(t *testing.T, host lab.Host, made built) {
	machine := node(t, host, made)
	for inside, file := range map[string]string{"/boot/" + filepath.Base(host.Image()): host.Image(), "/etc/os-release": filepath.Join(host.Dir, "etc/os-release")} {
		machine.Files[inside] = file
	}
	for _, name := range compilerFiles {
		machine.Files[name] = fromImage(t, name)
	}
	m := made.manifest
	names := []string{"with neither", "without the host's root", "without CAP_SYSLOG", "with both"}
	var steps plan.Plan
	for i := range names {
		step := plan.Step{Run: []string{"/builder", "--offline", "--log-format=json", "--output=json", "--user-space=none",
			"--driver-version=" + m.Driver.Version, "--driver-sha256=" + strings.TrimPrefix(m.Driver.Digest, "sha256:"),
			"--module-type=proprietary", "--github-repository=coreos/linux"}}
		if i&1 == 0 {
			step.Confined.Drop = []uintptr{unix.CAP_SYSLOG}
		}
		if i&2 != 0 {
			step.Run = append(step.Run, "--host-root=/")
		}
		steps = append(steps, step)
	}
	outcome, err := shared.Lab(t).Boot(t.Context(), machine, steps)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range outcome.Results {
		if r.Ran == nil || r.Ran.Exit != 0 || !strings.Contains(string(r.Ran.Stdout), `"reused": true`) {
			t.Errorf("%s: %q, %+v", names[i], r.Errors, r.Ran)
			if r.Ran != nil {
				t.Logf("%s", r.Ran.Stderr)
			}
			continue
		}
		// They did look at it in different ways.
		from := map[bool]string{false: `"exports":"proc/kallsyms"`, true: `"exports":"boot/vmlinuz`}[i&2 != 0]
		if !strings.Contains(string(r.Ran.Stderr), from) {
			t.Errorf("%s: the log does not say %s:\n%s", names[i], from, r.Ran.Stderr)
		}
	}
}

// servesNot: a kernel of the same release that has another option, or exports
// something else, has to be built for. The captured node is edited to be one.
func servesNot(t *testing.T, made built, captured string) {
	for _, tt := range []struct {
		name, file string
		edit       func([]byte) []byte
		says       string
	}{
		{"the same kernel", "proc/version", func(b []byte) []byte { return b }, "nothing to build"},
		{"another config", "proc/config.gz", func(b []byte) []byte {
			return gzipped(t, append(gunzipped(t, b), "CONFIG_THIS_IS_ANOTHER_KERNEL=y\n"...))
		}, "kernel config (was sha256:"},
		{"another export", "proc/kallsyms", func(b []byte) []byte {
			return bytes.ReplaceAll(b, []byte("__ksymtab_kfree\n"), []byte("__ksymtab_kfree2\n"))
		}, "kfree was exported, and is not; kfree2 was not exported, and is"},
		{"another build", "sys/kernel/notes", func(b []byte) []byte { b[len(b)-1] ^= 1; return b }, "kernel build (was "},
	} {
		t.Run(tt.name, func(t *testing.T) {
			node := edited(t, captured, tt.file, tt.edit)
			b := online(t, "--dry-run", "--host-root=/node.tar", "--module-type=proprietary", "--github-repository=coreos/linux")
			b.Share, b.At, b.Docker = made.by.Share, elsewhere, []string{"-v", node + ":/node.tar:ro"}
			o := run(t, b)
			builds := strings.Contains(o.stdout, "nvidia-installer --kernel-module-only")
			if o.code != 0 || builds == (tt.says == "nothing to build") || !strings.Contains(o.stderr, tt.says) {
				t.Errorf("exit code %d, would build: %v, want the log to say %q", o.code, builds, tt.says)
			}
		})
	}
}

// edited is a copy of a capture in which one file is another.
func edited(t *testing.T, captured, name string, edit func([]byte) []byte) string {
	from, err := os.Open(captured)
	if err != nil {
		t.Fatal(err)
	}
	defer from.Close()
	path := filepath.Join(t.TempDir(), "node.tar")
	to, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer to.Close()
	in, out, found := tar.NewReader(from), tar.NewWriter(to), false
	for {
		header, err := in.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		var content []byte
		if err == nil {
			content, err = io.ReadAll(in)
		}
		if err == nil && header.Name == name {
			content, found = edit(content), true
			header.Size = int64(len(content))
		}
		if err == nil {
			err = out.WriteHeader(header)
		}
		if err == nil {
			_, err = out.Write(content)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := out.Close(); err != nil || !found {
		t.Fatalf("%v; %s is in the capture: %v", err, name, found)
	}
	return path
}

func gunzipped(t *testing.T, data []byte) []byte {
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		t.Fatal(err)
	}
	text, err := io.ReadAll(z)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func gzipped(t *testing.T, text []byte) []byte {
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	_, err := z.Write(text)
	if err := errors.Join(err, z.Close()); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

// fromImage is a copy of one of the image's files.
func fromImage(t *testing.T, name string) string {
	file, err := os.Create(filepath.Join(t.TempDir(), filepath.Base(name)))
	if err != nil {
		t.Fatal(err)
	}
	defer file.Close()
	cat := lab.Builder{Image: needImage(t), Docker: []string{"--entrypoint", "cat"}, Args: []string{name}, Stdout: file, Stderr: os.Stderr}
	if code, err := cat.Run(t.Context()); err != nil || code != 0 {
		t.Fatalf("exit code %d, %v", code, err)
	}
	return file.Name()
}
