package kernel

import (
	"strings"
)

// osReleaseFiles are where os-release(5) is looked for, in its own order.
var osReleaseFiles = [...]string{"etc/os-release", "usr/lib/os-release"}

// ParseOSRelease reads the text of an os-release(5) file: KEY=value lines with
// the shell's quoting. Lines of any other form are passed over.
func ParseOSRelease(text []byte) Distribution {
	var d Distribution
	fields := map[string]*string{
		"ID":          &d.ID,
		"VERSION_ID":  &d.VersionID,
		"PRETTY_NAME": &d.PrettyName,
	}
	for line := range strings.Lines(string(text)) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), "=")
		if field := fields[key]; ok && field != nil {
			*field = unquote(value)
		}
	}
	return d
}

// unquote takes the shell's quotes off a value, as far as os-release(5) allows
// them: one pair around the whole, and a backslash inside a double pair.
func unquote(value string) string {
	if len(value) < 2 || value[0] != value[len(value)-1] {
		return value
	}
	switch value[0] {
	case '\'':
		return value[1 : len(value)-1]
	case '"':
		return unescape(value[1 : len(value)-1])
	}
	return value
}

func unescape(s string) string {
	var b strings.Builder
	escaped := false
	for _, c := range s {
		if c == '\\' && !escaped {
			escaped = true
			continue
		}
		escaped = false
		b.WriteRune(c)
	}
	return b.String()
}

// distribution is what the root says of the host's distribution. Where its
// os-release is not to be seen, or is that of a system with another kernel, the
// release's own flavour names CoreOS and Flatcar; the zero value means nothing
// is known.
func distribution(root *Root, release Release) Distribution {
	for _, name := range osReleaseFiles {
		if root.otherSystem {
			break
		}
		if text, err := root.ReadFile(name); err == nil {
			d := ParseOSRelease(text)
			d.From = name
			return d
		}
	}
	switch release.Flavour {
	case "coreos", "flatcar":
		return Distribution{ID: release.Flavour, From: "release"}
	}
	return Distribution{}
}
