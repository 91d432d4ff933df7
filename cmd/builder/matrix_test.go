package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/matrix"
)

// TestMatrix builds two drivers, of which one is not to be had, for two kernels, of which
// one is no kernel's, and again, which builds nothing.
func TestMatrix(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	file, page, data := filepath.Join(f.share, "kernels.yaml"), filepath.Join(f.share, "matrix.html"), filepath.Join(f.share, "matrix.json")
	write(t, file, 0o644, fmt.Sprintf("kernels: [{name: nodes, host-root: %s}, {name: none, host-root: absent.tar}]\ndrivers: [%s, 535.309.01]\n", f.host, fixtureDriver))
	for _, again := range []bool{false, true} {
		o := f.run(t, "matrix", file, "--offline", "--html", page, "--json", data)
		if o.code != 11 || !strings.Contains(lastLine(o.stderr), "3 of 4 builds failed, the first for kernel nodes, driver 535.309.01") {
			t.Fatalf("exit code %d\n%s", o.code, o.stderr)
		}
		if !strings.Contains(o.stdout, "none   failed      failed") || !strings.Contains(read(t, page), `<td class="built">`) {
			t.Errorf("%s\n%s", o.stdout, read(t, page))
		}
		var table matrix.Table
		if err := json.Unmarshal([]byte(read(t, data)), &table); err != nil {
			t.Fatal(err)
		}
		var verdicts []matrix.Verdict
		for _, c := range table.Cells {
			verdicts = append(verdicts, c.Verdict)
		}
		if diff := cmp.Diff([]matrix.Verdict{matrix.Built, matrix.Failed, matrix.Failed, matrix.Failed}, verdicts); diff != "" {
			t.Error(diff)
		}
		built := table.Cells[0]
		if built.Reused != again || built.Version != fixtureDriver || built.Release != fixtureRelease || built.ModuleType != "proprietary" {
			t.Errorf("%+v", built)
		}
		if read(t, built.Manifest) == "" || table.Cells[1].Stage != "driver" || table.Cells[2].Stage != "detect" {
			t.Errorf("%+v", table.Cells)
		}
	}
	write(t, file, 0o644, fmt.Sprintf("kernels: [{host-root: %s}]\ndrivers: [%s]\n", f.host, fixtureDriver))
	o := f.run(t, "matrix", file, "--output", "json")
	var table matrix.Table
	if err := json.Unmarshal([]byte(o.stdout), &table); err != nil || o.code != 0 || len(table.Cells) != 1 || table.Builder != version() {
		t.Errorf("exit code %d, %v\n%s%s", o.code, err, o.stdout, o.stderr)
	}
}

func TestMatrixRefuses(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	file := filepath.Join(f.share, "matrix.yaml")
	for name, c := range map[string]struct {
		text string
		args []string
		says string
	}{
		"no file":              {"", []string{"matrix"}, "matrix takes one file"},
		"a file of other than": {"kernels: 3", []string{"matrix", file}, "is no matrix of kernels and drivers"},
		"a release that is none": {"kernels: [x]\ndrivers: [580]", []string{"matrix", file},
			`kernel x with driver 580: \"x\" is no release of Flatcar`},
		"what the file is for": {"kernels: [stable]\ndrivers: [580]", []string{"matrix", file, "--driver-version", "580"}, "unknown flag: --driver-version"},
		"to push to nowhere":   {"kernels: [stable]\ndrivers: [580]", []string{"matrix", file, "--push"}, "no registry is named"},
	} {
		write(t, file, 0o644, c.text)
		if o := f.run(t, c.args...); o.code != 2 || !strings.Contains(lastLine(o.stderr), c.says) || o.stdout != "" {
			t.Errorf("%s: exit code %d\n%s%s", name, o.code, o.stdout, o.stderr)
		}
	}
}
