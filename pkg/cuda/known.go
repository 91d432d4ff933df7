package cuda

import (
	_ "embed" // the digests
	"path"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// DigestCheck is the name of the check that somebody vouches for the package's
// digest, as --allow takes it.
const DigestCheck = "driver-digest"

// knownDigests is what digests/README.md describes.
//
//go:embed digests/drivers.sha256
var knownDigests string

// KnownDigest is the SHA-256, in hexadecimal, of NVIDIA's package of a driver
// for an architecture; empty where it is not known.
func KnownDigest(arch kernel.Arch, version string) string {
	digest, _ := known(arch, version)
	return digest
}

// known is the digest of a package and its path on NVIDIA's server.
func known(arch kernel.Arch, version string) (digest, file string) {
	name := runFileName(arch, version)
	for line := range strings.Lines(knownDigests) {
		if f := strings.Fields(line); path.Base(f[1]) == name {
			return f[0], f[1]
		}
	}
	return "", ""
}

// runFileName is the name under which NVIDIA publishes a driver.
func runFileName(arch kernel.Arch, version string) string {
	return "NVIDIA-Linux-" + string(arch) + "-" + version + ".run"
}

// KnownVersions are those of the drivers whose digest is known for an architecture.
func KnownVersions(arch kernel.Arch) []string {
	var list []string
	for line := range strings.Lines(knownDigests) {
		if p, ok := parseRunName(path.Base(strings.Fields(line)[1])); ok && p.Arch == arch {
			list = append(list, p.Version)
		}
	}
	return list
}

// parseRunName takes the name of NVIDIA's package of a driver apart.
func parseRunName(name string) (Package, bool) {
	m := packageName.FindStringSubmatch(name)
	if m == nil || m[4] == "" {
		return Package{}, false
	}
	return Package{Kind: RunFile, Arch: kernel.Arch(m[1]), Version: m[2], Variant: m[3]}, true
}
