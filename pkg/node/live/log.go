package live

import (
	"regexp"
	"strings"
)

// Mark is a place in the kernel's log.
type Mark struct {
	kernel Kernel
	before string
	err    error
}

// MarkLog notes where the kernel's log ends now.
func MarkLog(k Kernel) Mark {
	before, err := k.Log()
	return Mark{k, strings.Clone(tailOf(before)), err}
}

// MarkStart is the place where the kernel's log begins.
func MarkStart(k Kernel) Mark { return Mark{kernel: k} }

// markTail is as much of the log's end as is looked for in the later log. The
// log is a ring: its beginning may be gone by then.
const markTail = 4 << 10

// initcall is what a kernel that is started with initcall_debug logs around each
// module's own messages.
var initcall = regexp.MustCompile(`^(calling  |initcall )\S+\+0x`)

// Since are the messages that came after the mark, without their levels and
// times. Its error says why the log cannot be read.
func (m Mark) Since() ([]string, error) { return m.Next() }

// Next is Since, and moves the mark to where the log ends now.
func (m *Mark) Next() ([]string, error) {
	if err := m.err; err != nil {
		*m = MarkLog(m.kernel) // what is read next is what comes from here on
		return nil, err
	}
	after, err := m.kernel.Log()
	if err != nil {
		return nil, err
	}
	before := m.before
	m.before = strings.Clone(tailOf(after))
	if at := strings.LastIndex(after, tailOf(before)); at >= 0 && before != "" {
		after = after[at+len(tailOf(before)):]
	}
	var lines []string
	for line := range strings.Lines(after) {
		if message := plain(line); message != "" && !initcall.MatchString(message) {
			lines = append(lines, message)
		}
	}
	return lines, nil
}

func tailOf(log string) string { return log[max(0, len(log)-markTail):] }

// plain is a message of "<6>[    1.234567] message\n".
func plain(line string) string {
	if strings.HasPrefix(line, "<") {
		_, line, _ = strings.Cut(line, ">")
	}
	if rest, ok := strings.CutPrefix(line, "["); ok {
		if _, message, ok := strings.Cut(rest, "] "); ok {
			line = message
		}
	}
	return strings.TrimSpace(line)
}
