package kernel

import (
	"fmt"
	"regexp"
	"strings"
)

// banner is the line in which a kernel says what it is and how it was made:
// proc/version, and linux_banner in its image.
type banner struct {
	text     string
	release  string
	builder  string // user@host
	compiler string // the compiler's own banner, and from 5.8 on the linker's
}

// parseBanner takes apart the kernel's linux_banner:
//
//	Linux version RELEASE (USER@HOST) (COMPILER) #1 SMP ...
//
// The parentheses inside COMPILER are balanced in every banner seen.
func parseBanner(text string) (banner, error) {
	text = strings.TrimSpace(text)
	rest, ok := strings.CutPrefix(text, "Linux version ")
	if !ok {
		return banner{}, fmt.Errorf("%.80q does not begin with \"Linux version\"", text)
	}
	release, rest, _ := strings.Cut(rest, " ")
	builder, rest := group(rest)
	compiler, _ := group(strings.TrimPrefix(rest, " "))
	return banner{text: text, release: release, builder: builder, compiler: compiler}, nil
}

// group splits "(a (b) c) d" into "a (b) c" and " d". Without a balanced group
// in front it returns "" and s.
func group(s string) (inside, rest string) {
	if !strings.HasPrefix(s, "(") {
		return "", s
	}
	depth := 0
	for i := range len(s) {
		switch s[i] {
		case '(':
			depth++
		case ')':
			if depth--; depth == 0 {
				return s[1:i], s[i+1:]
			}
		}
	}
	return "", s
}

var compilerVersion = regexp.MustCompile(`^([0-9]{1,3})\.[0-9]{1,4}(\.[0-9]{1,8})?`)

// ParseCompiler reads the banner of a compiler, as the first line of its
// --version prints it and as kernels record it:
//
//	gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40
//	x86_64-cros-linux-gnu-gcc (Gentoo Hardened 14.3.0 p8) 14.3.0
//	gcc version 8.3.0 (Gentoo Hardened 8.3.0-r1 p1.1)
//	Ubuntu clang version 14.0.0-1ubuntu1, Ubuntu LLD 14.0.0
func ParseCompiler(banner string) (Compiler, error) {
	text, _, _ := strings.Cut(outsideGroups(banner), ",")
	name := compilerName(text)
	for _, word := range strings.Fields(text) {
		m := compilerVersion.FindStringSubmatch(word)
		if m == nil || name == "" {
			continue
		}
		return Compiler{Name: name, Major: number(m[1]), Version: m[0], Banner: banner}, nil
	}
	return Compiler{}, fmt.Errorf("no version of gcc or clang in %.120q", banner)
}

func compilerName(text string) string {
	switch {
	case strings.Contains(text, "clang"):
		return "clang"
	case strings.Contains(text, "gcc"):
		return "gcc"
	}
	return ""
}

// outsideGroups is s without anything in parentheses: vendors put versions of
// their own packages there, and commas.
func outsideGroups(s string) string {
	var b strings.Builder
	depth := 0
	for i := range len(s) {
		switch c := s[i]; {
		case c == '(':
			depth++
		case c == ')':
			depth = max(depth-1, 0)
		case depth == 0:
			b.WriteByte(c)
		}
	}
	return b.String()
}
