package main

import (
	"path/filepath"
	"strings"
	"testing"
)

// withDebug has the installer leave an nvidia.ko whose core object brought
// debugging information along, and puts a stand-in for strip on the PATH.
func (f *fixture) withDebug(t *testing.T) {
	t.Helper()
	f.writeInstaller(t, fixtureDriver, `cp "$modules"/*.ko "$install"; cp "$modules"/../debug/nvidia.ko "$install"`)
	write(t, filepath.Join(f.bin, "strip"), 0o755, `#!/bin/sh
[ "$1 $2" = "--strip-debug -o" ] && cp "`+recorded(t, "ko")+`/$(basename "$4")" "$3"
`)
}

func TestDebuggingInformationGoes(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.withDebug(t)
	dir := filepath.Dir(strings.TrimSpace(f.build(t).stdout))
	if read(t, filepath.Join(dir, "nvidia.ko")) != read(t, recorded(t, "ko/nvidia.ko")) {
		t.Error("nvidia.ko was published with its debugging information")
	}
}

func TestDebuggingInformationStaysWhereItIsAskedFor(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.withDebug(t)
	o := f.run(t, "--debug-info")
	if o.code != 0 {
		t.Fatalf("exit code %d\n%s", o.code, o.stderr)
	}
	if read(t, filepath.Join(filepath.Dir(strings.TrimSpace(o.stdout)), "nvidia.ko")) != read(t, recorded(t, "debug/nvidia.ko")) {
		t.Error("nvidia.ko was stripped")
	}
}

func TestStripThatFails(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	f.withDebug(t)
	write(t, filepath.Join(f.bin, "strip"), 0o755, "#!/bin/sh\necho no such format\nexit 1\n")
	o := f.run(t)
	if o.code != 14 || !strings.Contains(lastLine(o.stderr), "no such format") || !strings.Contains(lastLine(o.stderr), "--debug-info") {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
}
