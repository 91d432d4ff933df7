package main

import (
	"strings"
	"testing"
)

// TestHelp: a newcomer finds the options of a build in groups, each of them in one, with
// examples, and what is mistyped is told with what may have been meant.
func TestHelp(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	help := f.run(t, "--help")
	if help.code != 0 || strings.Contains(help.stdout, "Its own:") || strings.Count(help.stdout, "docker run --rm") != 3 {
		t.Errorf("exit code %d\n%s", help.code, help.stdout)
	}
	for _, group := range flagGroups {
		if !strings.Contains(help.stdout, "\n\n"+group.title+":\n") {
			t.Errorf("the help has no group %q", group.title)
		}
	}
	if got := f.run(t, "help", "verify"); got.code != 0 || got.stdout != f.run(t, "verify", "--help").stdout || !strings.Contains(got.stdout, "Hold a folder of published modules") {
		t.Errorf("help verify: exit code %d\n%s", got.code, got.stdout)
	}
	if got := f.run(t, "help"); got.stdout != help.stdout {
		t.Errorf("help:\n%s", got.stdout)
	}
	if got := f.run(t, "--version"); got.code != 0 || got.stdout != f.run(t, "version").stdout {
		t.Errorf("--version: exit code %d, %q", got.code, got.stdout)
	}
	if got := f.run(t, "completion", "bash"); got.code != 0 || !strings.Contains(got.stdout, "bash completion") {
		t.Errorf("completion: exit code %d, %.80q", got.code, got.stdout)
	}
	for _, tt := range []struct {
		args []string
		says string
	}{
		{[]string{"help", "foo"}, `"foo" is no command of builder`},
		{[]string{"help", "verify", "foo"}, `"foo" is no command of builder`},
		{[]string{"verfy"}, `"verfy" is no command of builder; is verify meant?`},
		{[]string{"help", "laod"}, "is load meant?"},
		{[]string{"--drivr-version=580"}, "unknown flag: --drivr-version; is --driver-version meant?"},
		{[]string{"load", "--replce"}, "is --replace meant?"},
		{[]string{"verify", "--nothing-like-it"}, "unknown flag: --nothing-like-it"},
		{[]string{"prune", "--release", "", "--driver-version", "535.1"}, "--release names none, which would be all of them"},
	} {
		if got := f.run(t, tt.args...); got.code != 2 || !strings.Contains(lastLine(got.stderr), strings.ReplaceAll(tt.says, `"`, `\"`)) {
			t.Errorf("%v: exit code %d\n%s", tt.args, got.code, got.stderr)
		}
	}
}

// TestNothingIsMeant by a letter, which is like the name of whatever is as short.
func TestNothingIsMeant(t *testing.T) {
	f := newFixture(t)
	if got := f.run(t, "prune", "-s", "x"); got.code != 2 || strings.Contains(got.stderr, "meant?") {
		t.Errorf("exit code %d\n%s", got.code, got.stderr)
	}
}
