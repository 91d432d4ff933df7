//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOneModule builds nvidia alone, in a second share at another path, with a space
// in it, which a container that may mount gets along with. It is the module that the demo built among five, to the byte, and nothing of the
// others was compiled but nvidia-modeset, which no installer can leave out.
func TestOneModule(t *testing.T) {
	c := needDemo(t)
	b := c.builder(t, "--modules=nvidia")
	b.Share, b.At = newShare(t), "/srv/else where"
	b.Docker = append(b.Docker, "--cap-add", "SYS_ADMIN")
	built := build(t, b)
	if diff := cmp.Diff(c.manifest(t).Modules[:1], built.manifest.Modules); diff != "" {
		t.Errorf("modules (-the demo's first +got):\n%s", diff)
	}
	for _, check := range built.manifest.Checks {
		if check.Name == "built" && check.Module != "nvidia" && check.Detail != "left out as the user asked" {
			t.Errorf("the manifest says of %s: %s %s", check.Module, check.Verdict, check.Detail)
		}
	}
	if strings.Contains(built.log, "builder-share") || !strings.Contains(built.log, b.At) {
		t.Error("the log names the share by another path than its user did")
	}
	logs, err := filepath.Glob(filepath.Join(b.Share, ".builder/logs/nvidia-installer-*.log"))
	if err != nil || len(logs) != 1 {
		t.Fatalf("logs %v, %v", logs, err)
	}
	text, err := os.ReadFile(logs[0])
	if err != nil {
		t.Fatal(err)
	}
	compiled := map[string]int{}
	for line := range strings.Lines(string(text)) {
		if _, path, found := strings.Cut(line, " CC [M] "); found {
			compiled[filepath.Base(filepath.Dir(strings.TrimSpace(path)))]++
		}
	}
	for _, folder := range []string{"nvidia-uvm", "nvidia-drm", "nvidia-peermem"} {
		if compiled[folder] > 0 {
			t.Errorf("%d files of %s were compiled", compiled[folder], folder)
		}
	}
	if compiled["nvidia"] == 0 {
		t.Errorf("the log shows no compile of nvidia: %v", compiled)
	}
}
