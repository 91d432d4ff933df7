package kernel

import (
	"regexp"
	"strings"
)

// Patched is a distribution that is known to carry patches of its own on the kernel.org
// release whose number its kernels have.
type Patched struct {
	// By is its name, for people; empty for every other kernel.
	By string
	// Headers is the package with the tree to build modules against; empty where the
	// distribution has none to install.
	Headers string
}

// patchers are those distributions, by what their releases look like or by the ID of
// their os-release. CoreOS's kernels are found by its own tags, and Flatcar's patches,
// eight of them in 2026, change no structure.
var patchers = []struct {
	release *regexp.Regexp
	id      string
	by      string
	headers string // REL is the release
}{
	{regexp.MustCompile(`\.el[0-9]+(_[0-9]+)?(\.|$)`), "", "Enterprise Linux", "kernel-devel-REL"},
	{regexp.MustCompile(`\.(azl|cm)[0-9]+$`), "", "Azure Linux", "kernel-devel"},
	{regexp.MustCompile(`\.amzn[0-9]+`), "", "Amazon Linux", "kernel-devel-REL"},
	{regexp.MustCompile(`\.fc[0-9]+(\.|$)`), "", "Fedora", "kernel-devel-REL"},
	{regexp.MustCompile(`-pve$`), "", "Proxmox", "proxmox-headers-REL"},
	{regexp.MustCompile(`-talos$`), "talos", "Talos", ""},
	{regexp.MustCompile(`-(generic|lowlatency|aws|azure|gcp|gke|kvm|oracle)(-[0-9a-z.-]+)?$`), "ubuntu", "Ubuntu", "linux-headers-REL"},
	{regexp.MustCompile(`\+deb[0-9]+|-[0-9]+(-cloud|-rt)?-(amd64|arm64)$`), "debian", "Debian", "linux-headers-REL"},
	{nil, "bottlerocket", "Bottlerocket", ""},
	{nil, "cos", "Container-Optimized OS", ""},
}

// Patched says of a kernel whose it is, if its distribution carries patches of its own:
// the release decides before os-release does, since a container may have only that.
func (t Target) Patched() Patched {
	for _, byRelease := range []bool{true, false} {
		for _, p := range patchers {
			is := p.id != "" && t.Distribution.ID == p.id
			if byRelease {
				is = p.release != nil && p.release.MatchString(t.Release.Full)
			}
			if is {
				return Patched{p.by, strings.ReplaceAll(p.headers, "REL", t.Release.Full)}
			}
		}
	}
	return Patched{}
}
