package node

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/live"
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
	// The last, since it is also said where a GPU is there that is not served.
	{regexp.MustCompile(`NVRM: No NVIDIA (?:GPU|graphics adapter) found`), func([]string) Finding { return NoDevice.Of() }},
}

// logLines is how much of the kernel's log goes into an error.
const logLines = 8

// explain is what the kernel meant by refusing a module: as its log tells,
// where it can be read, else by the number of its error.
func explain(module string, err error, log []string, hidden error) Finding {
	text := strings.Join(log, "\n")
	for _, s := range said {
		if match := s.pattern.FindStringSubmatch(text); match != nil {
			return s.found(match)
		}
	}
	if errors.Is(err, unix.ENODEV) && module == live.Main && hidden != nil {
		return NoDevice.Of() // the one thing that its init says by that
	}
	return Refused.Of(module, errorName(err))
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
