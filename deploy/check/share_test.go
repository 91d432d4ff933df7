package check

import (
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// share is the folder on the host that every example has.
const share = "/home/core/share"

// texts are what people copy from, by name.
func texts(t *testing.T) map[string]string {
	t.Helper()
	all := map[string]string{}
	for _, pattern := range []string{"../*.md", "../systemd/*", "../kubernetes/*.md", "../kubernetes/base/*", "../kubernetes/next-kernel/*", "../kubernetes/fluo/*"} {
		names, err := filepath.Glob(pattern)
		if err != nil || len(names) == 0 {
			t.Fatalf("%s: %v", pattern, err)
		}
		for _, name := range names {
			all[name] = read(t, name)
		}
	}
	return all
}

// TestShare finds one share in all files, where it stands for itself.
func TestShare(t *testing.T) {
	anyShare := regexp.MustCompile(`/[a-z/]*\bshare\b`)
	for name, text := range texts(t) {
		for _, found := range anyShare.FindAllString(text, -1) {
			if found != share && found != "/opt/share" && found != "/usr/share" { // that one is the system's
				t.Errorf("%s has the share %s; it is %s on the host and /opt/share in the image", name, found, share)
			}
		}
	}
	for name, want := range map[string]string{
		"cuda-driver.env":      "CUDA_SHARE=" + share + "\n",
		"cuda-modules.service": "ConditionPathExistsGlob=!" + share + "/modules/%v/",
		"cuda-next-kernel":     `"${CUDA_SHARE:=` + share + `}"`,
		"flatcar.bu":           "path: " + share + "\n",
	} {
		if !strings.Contains(read(t, systemd, name), want) {
			t.Errorf("%s does not say %q", name, want)
		}
	}
	for _, v := range slices.Concat(base(t).Spec.Template.Spec.Volumes, agents(t).Spec.Template.Spec.Volumes) {
		if v.Name == "share" && v.HostPath.Path != share {
			t.Errorf("a DaemonSet's share is %s", v.HostPath.Path)
		}
	}
}
