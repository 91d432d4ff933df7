//go:build integration

package runsh

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestShellcheck holds every script to shellcheck, in the dialect that its
// first line names.
func TestShellcheck(t *testing.T) {
	scripts := shellScripts(t)
	if !slices.Contains(scripts, "run.sh") {
		t.Fatalf("run.sh is not among the scripts found: %q", scripts)
	}
	root := absolute(t, checkout)
	args := []string{"run", "--rm", "--volume", root + ":/checkout:ro", "--workdir", "/checkout",
		toolsImage(t), "shellcheck"}
	if got := docker(t, append(args, scripts...)...); got.Status != 0 {
		t.Errorf("shellcheck objects:\n%s", got.Output)
	}
	t.Logf("checked %s", strings.Join(scripts, ", "))
}

// TestVagrantfile validates the Vagrantfile as it is, and with each of the
// edits that its comments offer.
func TestVagrantfile(t *testing.T) {
	tests := map[string]struct {
		edit [2]string
		want string
	}{
		"as it is":           {[2]string{}, "Vagrantfile validated successfully."},
		"beta":               {[2]string{`CHANNEL = "alpha"`, `CHANNEL = "beta"`}, "Vagrantfile validated successfully."},
		"stable":             {[2]string{`CHANNEL = "alpha"`, `CHANNEL = "stable"`}, "Vagrantfile validated successfully."},
		"a release":          {[2]string{`VERSION = "current"`, `VERSION = "4669.0.0"`}, "Vagrantfile validated successfully."},
		"a cached CoreOS":    {[2]string{`DISTRIBUTION = "flatcar"`, `DISTRIBUTION = "coreos"`}, "Vagrantfile validated successfully."},
		"no distribution":    {[2]string{`DISTRIBUTION = "flatcar"`, `DISTRIBUTION = "debian"`}, "DISTRIBUTION in the Vagrantfile must be flatcar or coreos, not debian."},
		"a misspelt setting": {[2]string{`virtualbox.memory`, `virtualbox.memmory`}, "The following settings shouldn't exist: memmory"},
	}
	original, err := os.ReadFile(filepath.Join(checkout, "Vagrantfile"))
	if err != nil {
		t.Fatal(err)
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			edited := strings.Replace(string(original), test.edit[0], test.edit[1], 1)
			if test.edit[0] != "" && edited == string(original) {
				t.Fatalf("the Vagrantfile does not say %s", test.edit[0])
			}
			l := &laptop{Dir: t.TempDir(), Env: map[string]string{
				// Stand-ins for VirtualBox and an NFS server: `vagrant validate`
				// refuses to look at a Vagrantfile on a machine without them.
				"PATH":                     absolute(t, "testdata/host") + ":/usr/local/bin:/usr/bin:/bin",
				"VAGRANT_DEFAULT_PROVIDER": "virtualbox",
				"HOME":                     "/tmp",
			}}
			l.write(t, "Vagrantfile", []byte(edited))
			got := l.exec(t, l.Dir, "vagrant", "validate")
			if !strings.Contains(got.Output, test.want) {
				t.Errorf("vagrant validate says:\n%s\nwant: %s", got.Output, test.want)
			}
			if valid := strings.Contains(test.want, "successfully"); valid != (got.Status == 0) {
				t.Errorf("vagrant validate: status %d", got.Status)
			}
		})
	}
}

// TestVagrantfileSharesTheCheckout holds the Vagrantfile to the path that
// run.sh's docker lines name.
func TestVagrantfileSharesTheCheckout(t *testing.T) {
	for name, want := range map[string]string{
		"Vagrantfile": `config.vm.synced_folder ".", "/home/core/share", id: "core", type: "nfs", nfs_udp: false`,
		"run.sh":      `docker build -t cuda /home/core/share`,
	} {
		content, err := os.ReadFile(filepath.Join(checkout, name))
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(string(content), want) {
			t.Errorf("%s does not say %s", name, fmt.Sprintf("%q", want))
		}
	}
}
