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

// patchers are those distributions, by what their releases look like, by the ID of their
// os-release where these look like kernel.org's, or by both. One whose kernels do say whose they are
// is not known by its ID: its user may run a kernel of kernel.org's. CoreOS's kernels are
// found by its own tags, and Flatcar's patches, eight of them in 2026, change no structure.
// Fedora CoreOS and its like have no package manager to install headers with.
var patchers = []struct {
	release *regexp.Regexp
	id      string
	by      string
	headers string // REL is the release
}{
	{regexp.MustCompile(`\.el[0-9]+uek\.`), "", "Oracle's UEK", "kernel-uek-devel-REL"},
	{regexp.MustCompile(`\.el[0-9]+([._]|$)`), "", "Enterprise Linux", "kernel-devel-REL"},
	{regexp.MustCompile(`\.(azl|cm)[0-9]+$`), "", "Azure Linux", "kernel-devel"},
	{regexp.MustCompile(`\.amzn[0-9]+`), "", "Amazon Linux", "kernel-devel-REL"},
	{regexp.MustCompile(`\.fc[0-9]+(\.|$)`), "", "Fedora", ""},
	{regexp.MustCompile(`^[0-9.]+-[0-9.]+-(default|azure|rt)$`), "", "SUSE", "kernel-devel"},
	{regexp.MustCompile(`-pve$`), "", "Proxmox", "proxmox-headers-REL"},
	{regexp.MustCompile(`-talos$`), "", "Talos", ""},
	{regexp.MustCompile(`^[0-9]+\.[0-9]+\.0-[0-9]+-(generic|lowlatency|aws|azure|gcp|gke|gkeop|ibm|intel|kvm|oem|oracle|raspi|realtime)(-[0-9a-z.-]+)?$`), "", "Ubuntu", "linux-headers-REL"},
	{regexp.MustCompile(`(\+(deb|bpo)[0-9.]*|-[0-9]+(\.(deb|bpo)[0-9.]+)?)(-(cloud|rt))?-(amd64|arm64)$`), "", "Debian", "linux-headers-REL"},
	{regexp.MustCompile(`^[0-9]+\.[0-9]+\.0-[0-9]+-[a-z]`), "ubuntu", "Ubuntu", "linux-headers-REL"}, // flavours of single vendors
	{nil, "bottlerocket", "Bottlerocket", ""},
	{nil, "cos", "Container-Optimized OS", ""},
}

// Patched says of a kernel whose it is, if its distribution carries patches of its own.
func (t Target) Patched() Patched {
	for _, p := range patchers {
		if (p.id == "" || t.Distribution.ID == p.id) && (p.release == nil || p.release.MatchString(t.Release.Full)) {
			return Patched{p.by, strings.ReplaceAll(p.headers, "REL", t.Release.Full)}
		}
	}
	return Patched{}
}
