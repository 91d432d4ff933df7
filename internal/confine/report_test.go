package confine

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
)

func TestReport(t *testing.T) {
	t.Parallel()
	gaps := []Gap{{UserNamespace, "clone: operation not permitted"}, {OwnUser, "builder is user 1001"}}
	for _, test := range []struct {
		name          string
		report        Report
		says, exposes string
		exposesNoMore bool
	}{
		{"all", Report{UID: 1000, Isolated: true, Landlock: 7}, "", "", true},
		{"a view, by root", Report{UID: 1000, Isolated: true, Gaps: gaps[:1]}, "no user namespace (clone: operation not permitted)", "", true},
		{"Landlock alone", Report{UID: 1001, Landlock: 1, Gaps: gaps}, "no user namespace (clone: operation not permitted), no user (builder is user 1001)", "as far as user 1001 may", false},
		{"a user alone", Report{UID: 1000}, "", "reads and writes all that user 1000 may", false},
		{"root", Report{}, "", "all of root's files", false},
	} {
		if got := test.report.String(); got != test.says {
			t.Errorf("%s: says %q, want %q", test.name, got, test.says)
		}
		if got := test.report.Exposed(); !strings.Contains(got, test.exposes) || (got == "") != test.exposesNoMore {
			t.Errorf("%s: exposes %q, want %q", test.name, got, test.exposes)
		}
	}
}

func TestMapped(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"         0          0 4294967295\n":      true,
		"         0       1000          1\n":      false,
		"0 1000 1\n1 100000 65536\n":              true,
		"0 1000 1\n1 100000 999\n1001 200000 5\n": false,
		"0 1000 1\n1 100000 999\n1000 200000 5\n": true,
	} {
		file := filepath.Join(t.TempDir(), "uid_map")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		if got := mapped(file, 1000); got != want {
			t.Errorf("in %q: %v", text, got)
		}
	}
	if !mapped(filepath.Join(t.TempDir(), "none"), 1000) {
		t.Error("not where there is no map")
	}
}
