package lesser

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/testkit"
)

// TestMain does, in a process of its own, what cannot be taken back.
func TestMain(m *testing.M) {
	args := strings.Split(os.Getenv("LESSER_TEST"), ":")
	if len(args) < 2 {
		os.Exit(m.Run())
	}
	OwnerOf(zerolog.New(os.Stderr).WithContext(context.Background()), args[0], args[1:]...)
	status, err := os.ReadFile("/proc/self/status")
	if err != nil {
		panic(err)
	}
	for line := range strings.Lines(string(status)) {
		for _, key := range []string{"Uid:", "Gid:", "Groups:", "CapEff:", "CapPrm:"} {
			if strings.HasPrefix(line, key) {
				fmt.Print(strings.Join(strings.Fields(line), " "), "\n")
			}
		}
	}
	os.Exit(0)
}

func TestOwnerOf(t *testing.T) {
	testkit.NeedRoot(t)
	dir := t.TempDir()
	for up := dir; up != filepath.Dir(os.TempDir()) && up != "/"; up = filepath.Dir(up) {
		if up != os.TempDir() {
			if err := os.Chmod(up, 0o755); err != nil {
				t.Fatal(err)
			}
		}
	}
	theirs, roots, secret := filepath.Join(dir, "theirs"), filepath.Join(dir, "roots"), filepath.Join(dir, "secret")
	for path, mode := range map[string]os.FileMode{theirs: 0o600, roots: 0o644, secret: 0o600} {
		if err := os.WriteFile(path, nil, mode); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.Chown(theirs, 1000, 1001); err != nil {
		t.Fatal(err)
	}
	for name, tt := range map[string]struct {
		args []string
		uid  string
		gid  string
	}{
		"the owner":                     {[]string{theirs, theirs}, "1000", "1001"},
		"of root's":                     {[]string{roots, roots}, "65534", "65534"},
		"of nothing":                    {[]string{"", roots}, "65534", "65534"},
		"who cannot read what is named": {[]string{theirs, secret}, "0", "0"},
		"of a folder of root's":         {[]string{theirs, dir}, "0", "0"},
		"of what is not there":          {[]string{theirs, filepath.Join(dir, "absent")}, "0", "0"},
	} {
		t.Run(name, func(t *testing.T) {
			cmd := exec.Command(os.Args[0])
			cmd.Env = append(os.Environ(), "LESSER_TEST="+strings.Join(tt.args, ":"))
			out, err := cmd.CombinedOutput()
			if err != nil {
				t.Fatalf("%v\n%s", err, out)
			}
			want := []string{fmt.Sprintf("Uid: %[1]s %[1]s %[1]s %[1]s\n", tt.uid), fmt.Sprintf("Gid: %[1]s %[1]s %[1]s %[1]s\n", tt.gid)}
			if tt.uid != "0" {
				want = append(want, "Groups:\n", "CapPrm: 0000000000000000\n", "CapEff: 0000000000000000\n")
			}
			for _, line := range want {
				if !strings.Contains(string(out), line) {
					t.Errorf("it is not %q:\n%s", line, out)
				}
			}
		})
	}
}
