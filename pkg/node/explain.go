package node

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/node/nvrm"
)

// said are the messages by which NVIDIA's modules and the kernel tell why a
// module was refused, and the refusal that each is.
var said = []struct {
	pattern *regexp.Regexp
	found   func(match []string) Finding
}{
	{regexp.MustCompile(`NVRM: The NVIDIA (.+) GPU installed in this system is\s+NVRM:\s+supported through the NVIDIA (\S+) Legacy drivers`),
		func(m []string) Finding { return NotServed.Of(m[1], "it runs with the legacy drivers "+m[2]+" only") }},
	{regexp.MustCompile(`(?s)NVRM: The NVIDIA GPU ([0-9a-f:.]+) \(PCI ID: ([0-9a-f:]+)\)\s+NVRM:\s+(installed in this .*?)\.?(?:\n[^N]|\nNVRM: Please|$)`),
		func(m []string) Finding {
			return NotServed.Of(m[2]+" at "+m[1], "the GPU "+strings.ReplaceAll(m[3], "\nNVRM: ", " "))
		}},
	{regexp.MustCompile(`Loading of (?:module with unavailable key|unsigned module|module with unsupported crypto) is rejected|Lockdown: [^\n]*unsigned module loading is restricted`),
		func(m []string) Finding { return Unsigned.Of("as its log says", m[0]) }},
	// SELinux, as security/selinux/avc.c says it where no audit daemon takes it away:
	// Flatcar/Flatcar#783, coreos/fedora-coreos-tracker#1018.
	{regexp.MustCompile(`avc:\s+denied\s+\{ module_load \} for [^\n]*scontext=(\S+) tcontext=(\S+) tclass=system permissive=0`),
		func(m []string) Finding { return SELinux.Of("module_load to " + m[1] + ", of what is " + m[2]) }},
	// Kernels 5.6 to 5.15 ask it before they look at lockdown.
	{regexp.MustCompile(`avc:\s+denied\s+\{ (integrity|confidentiality) \} for [^\n]*lockdown_reason="([^"]*)" scontext=(\S+) [^\n]*tclass=lockdown permissive=0`),
		func(m []string) Finding { return SELinux.Of(m[1] + " (" + m[2] + ") to " + m[3]) }},
	// security/integrity/integrity_audit.c.
	{regexp.MustCompile(`op=appraise_data cause=(\S+) [^\n]*`), func(m []string) Finding { return IMA.Of("cause=" + m[1]) }},
	// security/loadpin/loadpin.c: lkrg-org/lkrg#116.
	{regexp.MustCompile(`LoadPin: kernel-module (?:old-api-)?denied [^\n]*`), func(m []string) Finding { return LoadPin.Of(m[0]) }},
	// security/ipe/audit.c.
	{regexp.MustCompile(`ipe_op=KMODULE [^\n]*enforcing=1[^\n]*action=DENY"`), func(m []string) Finding { return IPE.Of(m[0]) }},
	{regexp.MustCompile(`NVRM: The NVIDIA probe routine was not called for \d+ device\(s\)|NVRM: request_mem_region failed for [^\n]*?\. `),
		func(m []string) Finding {
			return HeldDevice.Of("that the modules are for", "as they say: "+strings.TrimSuffix(strings.TrimPrefix(m[0], "NVRM: "), ". "))
		}},
}

// noGPU is what the driver says where it has found none.
var noGPU = regexp.MustCompile(`NVRM: No NVIDIA (?:GPU|graphics adapter) found`)

// logLines is how much of the kernel's log goes into an error.
const logLines = 8

// explain is what the kernel meant by refusing a module: as its log tells,
// where it can be read, else by the number of its error. Enforcing says that SELinux
// is.
func explain(module string, err error, log []string, hidden error, enforcing bool) Finding {
	text := strings.Join(log, "\n")
	for _, s := range said {
		if match := s.pattern.FindStringSubmatch(text); match != nil {
			return s.found(match)
		}
	}
	// Of a host's only GPU, the driver says as its init fails what else it says of one
	// of several.
	for _, m := range nvrm.Read(log) {
		switch {
		case m.Do == nvrm.DoBAR:
			return NoBAR.Of(m.Says)
		case m.Lost:
			found := GPUFails.Of("at "+m.Address, m.Says)
			found.Do = m.Do
			return found
		}
	}
	switch {
	// It is also said where a GPU is there that is not served, or has failed.
	case noGPU.MatchString(text):
		return NoDevice.Of()
	case errors.Is(err, unix.ENODEV) && module == live.Main && hidden != nil:
		return NoDevice.Of() // the one thing that its init says by that
	case errors.Is(err, unix.EACCES) && enforcing:
		return SELinux.Of("it, as it seems: the kernel's log does not say so, and the host's audit log will (ausearch -m AVC)")
	}
	found := Refused.Of(module, errorName(err))
	found.Do = doRefused(err, text)
	return found
}

// doRefused is what helps against a refusal of which nothing is known but what the
// kernel returned and logged.
func doRefused(err error, log string) string {
	switch {
	case errors.Is(err, unix.ENOEXEC), errors.Is(err, unix.ENOENT), strings.Contains(log, "disagrees about version of symbol"):
		return "build again for this very kernel, from a mount of the host (-v /:/host:ro): these modules are not of it"
	case errors.Is(err, unix.ENOMEM):
		return "free memory on this host, of which a module takes twice its size as it is loaded"
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return "look in the host's audit log (journalctl -k, ausearch -m AVC,INTEGRITY_DATA) for which of the kernel's security modules refuses it, and allow it there"
	case errors.Is(err, unix.EINVAL):
		return "look at what the kernel's log says of it, often that a parameter has a wrong value: correct --parameters and options in modprobe.d"
	}
	return Refused.Do + "; another version of the driver, or the other form of it, may serve"
}

// errorName is an error's number by its name and its meaning.
func errorName(err error) string {
	var number unix.Errno
	if errors.As(err, &number) {
		return fmt.Sprintf("%s (%s)", unix.ErrnoName(number), number.Error())
	}
	return err.Error()
}

// KernelLog is the end of what the kernel's log says of a refusal, a message a
// line, as the cause of an error.
type KernelLog struct{ Lines []string }

// Error is the lines in one.
func (l *KernelLog) Error() string {
	return "the kernel's log: " + strings.Join(l.Lines, " | ")
}

// logError is what the kernel's log says of a refusal, a [KernelLog], or why it
// cannot be read; nil where it says nothing.
func logError(log []string, hidden error) error {
	switch {
	case hidden != nil:
		return fmt.Errorf("what the kernel's log says of it is not to be seen (%w): add --cap-add SYSLOG to docker run", hidden)
	case len(log) == 0:
		return nil
	}
	return &KernelLog{log[max(0, len(log)-logLines):]}
}
