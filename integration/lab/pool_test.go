package lab

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// Entries of trixie-backports' index, without most of their lines.
const index = `Package: linux-image-6.18.9+deb13-amd64
Version: 6.18.9-1~bpo13+1
Filename: pool/main/l/linux-signed-amd64/linux-image-6.18.9+deb13-amd64_6.18.9-1~bpo13+1_amd64.deb
SHA256: 01

Package: linux-image-6.18.15+deb13-amd64
SHA256: 02
Filename: pool/main/l/linux-signed-amd64/linux-image-6.18.15+deb13-amd64_6.18.15-1~bpo13+1_amd64.deb

Package: linux-image-6.18.30+deb13-cloud-amd64
Filename: cloud
SHA256: 03

Package: linux-image-7.3.4+deb13-amd64
Filename: pool/main/l/linux-signed-amd64/linux-image-7.3.4+deb13-amd64_7.3.4-1~bpo13+1_amd64.deb
SHA256: 04

Package: linux-image-amd64
Filename: meta
SHA256: 05
`

func TestPool(t *testing.T) {
	packages, err := readPackages(strings.NewReader(index))
	if err != nil {
		t.Fatal(err)
	}
	if want := (packaged{"meta", "05"}); packages["linux-image-amd64"] != want || len(packages) != 5 {
		t.Errorf("packages %v", packages)
	}
	got := map[string]string{}
	for _, line := range []string{"", "6.18", "7.3", "6.1"} {
		release, err := pool{packages: packages}.newestKernel(line)
		if err != nil {
			release = err.Error()
		}
		got[line] = release
	}
	want := map[string]string{
		"": "7.3.4+deb13-amd64", "6.18": "6.18.15+deb13-amd64", "7.3": "7.3.4+deb13-amd64",
		"6.1": `trixie-backports has no kernel of the line "6.1"`,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kernels (-want +got):\n%s", diff)
	}
}
