//go:build integration

package deploy

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// TestOEMPostinst does what flatcar-postinst does with the hook, `set -e` included, before it
// makes an update the next boot's: it goes on only where the update's kernel has a driver, or
// where nobody wants to hold updates back.
func TestOEMPostinst(t *testing.T) {
	const b, folder = "/boot/flatcar/vmlinuz-b", "/recorded/usr-b"
	built := ran(b, "", "", "image b", "6.12.103-flatcar")
	built[0] = "mount --bind " + folder
	tests := map[string]struct {
		host   flatcar
		env    string
		before string // a script that is run first
		goes   bool   // on with the update
		says   string
		record []string
	}{
		"a build": {host: node(), env: "CUDA_HOLD_UPDATES=yes", goes: true, says: "building the modules for kernel 6.12.103-flatcar", record: built},
		"modules that are there, whatever they are": {host: node(), env: "CUDA_HOLD_UPDATES=yes", goes: true, record: built,
			before: "mkdir -p /home/core/share/modules/6.12.103-flatcar/570.86.10; touch /home/core/share/modules/6.12.103-flatcar/570.86.10/manifest.json",
			says:   "building the modules for kernel 6.12.103-flatcar"},
		"the build fails":       {host: node().with("recorded/docker-status", "14"), env: "CUDA_HOLD_UPDATES=yes", says: "the update is held back, as its kernel has no NVIDIA driver yet", record: built},
		"no image":              {host: node().with("boot/flatcar/vmlinuz-b", "-"), env: "CUDA_HOLD_UPDATES=yes", says: "the update is held back"},
		"nobody wants that":     {host: node().with("recorded/docker-status", "14"), goes: true},
		"nobody wants it now":   {host: node().with("recorded/docker-status", "14"), env: "CUDA_HOLD_UPDATES=no", goes: true},
		"a node without a GPU":  {host: node().with("bus/pci/devices/0000:01:00.0/vendor", "-").with("recorded/docker-status", "14"), env: "CUDA_HOLD_UPDATES=yes", goes: true},
		"the mark is not there": {host: node().with("staged", "-"), env: "CUDA_HOLD_UPDATES=yes", goes: true, says: "building", record: built},
	}
	standIns, err := filepath.Abs("testdata/bin")
	if err != nil {
		t.Fatal(err)
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			dir := tt.host.write(t)
			got := host(t, []string{dir + "/recorded:/recorded", dir + "/boot:/boot:ro", dir + "/bus:/sys/bus:ro", standIns + ":/stand-ins:ro"},
				install+tt.before+`
echo '`+tt.env+`' >>/etc/cuda-driver.env
install -D /opt/bin/oem-postinst /usr/share/oem/bin/oem-postinst
status=0
env -i PATH=/stand-ins:/usr/bin bash -euo pipefail -c '/usr/share/oem/bin/oem-postinst B `+folder+`; echo "prioritized: the next boot brings it"' || status=$?
[ ! -e /run/cuda-next-kernel ] || { echo "left behind:"; find /run/cuda-next-kernel; }
cp /record /recorded/record 2>/dev/null || true
exit $status`)
			if goes := strings.Contains(got.output, "prioritized"); goes != tt.goes || (got.status == 0) != tt.goes || !strings.Contains(got.output, tt.says) || strings.Contains(got.output, "left behind") {
				t.Errorf("status %d, goes on: %t, want %t; output, want %q and nothing left behind:\n%s", got.status, goes, tt.goes, tt.says, got.output)
			}
			text, err := os.ReadFile(filepath.Join(dir, "recorded/record"))
			if err != nil && !os.IsNotExist(err) {
				t.Fatal(err)
			}
			var record []string
			if len(text) > 0 {
				record = strings.Split(strings.TrimSpace(string(text)), "\n")
			}
			if diff := cmp.Diff(tt.record, record); diff != "" {
				t.Errorf("what was mounted and run (-want +got):\n%s", diff)
			}
		})
	}
}
