//go:build integration

package loading

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"golang.org/x/sys/unix"
)

// privileges are the options by which a systemd unit says what its container may do.
func privileges(t *testing.T, unit string) []string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join("../../deploy/systemd", unit))
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, option := range regexp.MustCompile(`--(cap-drop|cap-add|security-opt|device-cgroup-rule) ("[^"]+"|\S+)`).FindAllStringSubmatch(string(text), -1) {
		list = append(list, "--"+option[1]+"="+strings.Trim(option[2], `"`))
	}
	if len(list) == 0 {
		t.Fatalf("%s says nothing of what its container may do", unit)
	}
	return list
}

// capabilities are the numbers of those that a unit's container has.
func capabilities(t *testing.T, unit string) []uintptr {
	t.Helper()
	numbers := map[string]uintptr{
		"SYS_MODULE": unix.CAP_SYS_MODULE, "SYSLOG": unix.CAP_SYSLOG, "MKNOD": unix.CAP_MKNOD, "CHOWN": unix.CAP_CHOWN,
		"FOWNER": unix.CAP_FOWNER, "SETUID": unix.CAP_SETUID, "SETGID": unix.CAP_SETGID,
	}
	var list []uintptr
	for _, option := range privileges(t, unit) {
		if name, ok := strings.CutPrefix(option, "--cap-add="); ok {
			number, ok := numbers[name]
			if !ok {
				t.Fatalf("%s adds %s, which is new here", unit, name)
			}
			list = append(list, number)
		}
	}
	return list
}
