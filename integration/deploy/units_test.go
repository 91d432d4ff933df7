//go:build integration

package deploy

import (
	"strings"
	"testing"
)

// install puts the units where flatcar.bu has them, beside as much of a host as
// they name.
const install = `
cp /checkout/deploy/systemd/*.service /checkout/deploy/systemd/*.path /etc/systemd/system/
cp /checkout/deploy/systemd/cuda-driver.env /etc/
install -D -t /opt/bin /checkout/deploy/systemd/cuda-next-kernel /checkout/deploy/systemd/oem-postinst
install -D /bin/true /usr/bin/docker
printf '[Service]\nExecStart=/bin/true\n' | tee /etc/systemd/system/docker.service >/etc/systemd/system/kubelet.service
`

const verify = install + `systemd-analyze verify --man=no /etc/systemd/system/cuda-*`

func TestUnits(t *testing.T) {
	got := host(t, nil, verify)
	if got.status != 0 || got.output != "" {
		t.Errorf("systemd-analyze verify: status %d\n%s", got.status, got.output)
	}
}

// TestVerifyObjects keeps TestUnits honest.
func TestVerifyObjects(t *testing.T) {
	for name, edit := range map[string]string{
		"an unknown key":        `sed -i 's/^TimeoutStopSec=/TimeoutStopsSec=/' /checkout/deploy/systemd/cuda-driver.service`,
		"an unknown unit":       `sed -i 's/^Requires=docker.service/Requires=dokcer.service/' /checkout/deploy/systemd/cuda-driver.service`,
		"a missing program":     `sed -i 's,/opt/bin/,/opt/sbin/,' /checkout/deploy/systemd/cuda-next-kernel.service`,
		"an impossible restart": `sed -i 's/^Restart=on-failure/Restart=always/' /checkout/deploy/systemd/cuda-driver.service`,
		"no time span":          `sed -i 's/^TimeoutStartSec=.*/TimeoutStartSec=soon/' /checkout/deploy/systemd/cuda-modules.service`,
		"a circle of orders":    `sed -i 's/^Before=kubelet.service/Before=kubelet.service docker.service/' /checkout/deploy/systemd/cuda-driver.service`,
	} {
		t.Run(name, func(t *testing.T) {
			// The checkout is read-only: the edit is of a copy in its place.
			got := host(t, nil, "cp -r /checkout /copy; mount --bind /copy /checkout; "+edit+"\n"+verify)
			if got.output == "" {
				t.Error("systemd-analyze verify has no objection")
			}
		})
	}
}

// TestCondition asks systemd whether it would build: only where the share has
// no modules for the kernel that runs.
func TestCondition(t *testing.T) {
	const asks = install + `
systemd-analyze condition --unit=cuda-modules.service
mkdir -p "/home/core/share/modules/5.0.0-other/570.86.10" "/home/core/share/modules/$(uname -r)/570.86.10"
touch /home/core/share/modules/5.0.0-other/570.86.10/manifest.json
systemd-analyze condition --unit=cuda-modules.service
touch "/home/core/share/modules/$(uname -r)/570.86.10/manifest.json"
systemd-analyze condition --unit=cuda-modules.service || true`
	got := host(t, nil, asks)
	var verdicts []string
	for line := range strings.Lines(got.output) {
		if strings.HasPrefix(line, "Conditions ") {
			verdicts = append(verdicts, strings.TrimSpace(line))
		}
	}
	if want := "Conditions succeeded. Conditions succeeded. Conditions failed."; got.status != 0 || strings.Join(verdicts, " ") != want {
		t.Errorf("status %d, %q, want %q\n%s", got.status, verdicts, want, got.output)
	}
}
