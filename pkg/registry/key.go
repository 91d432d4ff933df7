package registry

import (
	"crypto/sha256"
	"encoding/hex"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Key names an artefact. Two kernels of one release, built twice, are two keys.
type Key struct {
	// Release is the kernel's, as uname -r has it, and Identity what tells it from other
	// builds of the same release: the linker's build ID, in hexadecimal, or, of a
	// kernel without one, the digest of what it exports.
	Release, Identity string
	Arch              kernel.Arch
	// Driver is its version and Form "proprietary" or "open".
	Driver, Form string
}

// identityDigits are as many hexadecimal digits of an identity's digest as a tag has.
const identityDigits = 12

// Tag is the artefact's tag, of at most 128 of the characters that a tag may have
// (distribution-spec, "pulling manifests"): "580.126.09-open-6.12.102-flatcar-0123456789ab".
func (k Key) Tag() string { return k.tag(k.Driver + "-" + k.Form) }

// CaptureTag is the tag of the capture of a host with the kernel, whatever the driver.
func (k Key) CaptureTag() string { return k.tag("capture") }

func (k Key) tag(what string) string {
	sum := sha256.Sum256([]byte(k.Release + "\n" + string(k.Arch) + "\n" + k.Identity))
	end := "-" + hex.EncodeToString(sum[:])[:identityDigits]
	name := strings.Map(allowed, what+"-"+k.Release)
	return name[:min(len(name), maxTag-len(end))] + end
}

const maxTag = 128

// Aliases are tags by which others look for a driver for a kernel, and that do not tell
// two kernels of one release apart: DRIVER-RELEASE, as a mapping of the Kernel Module
// Management operator can say it, and DRIVER-RELEASE-DISTRIBUTION, as NVIDIA's GPU
// Operator does, whose distribution is os-release's ID and VERSION_ID in one word,
// "flatcar4593.2.5". Those that are too long for a tag are left out, as a part of one
// would not be found.
func (k Key) Aliases(distribution string) (list []string) {
	name := strings.Map(allowed, k.Driver+"-"+k.Release)
	for _, tag := range []string{name, name + "-" + strings.Map(allowed, distribution)} {
		if len(tag) <= maxTag && tag != name+"-" {
			list = append(list, tag)
		}
	}
	return list
}

// allowed replaces what a tag cannot have. That two releases have one name then is no
// matter: the digest is of the release as it is.
func allowed(r rune) rune {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9', r == '.', r == '-', r == '_':
		return r
	}
	return '_'
}
