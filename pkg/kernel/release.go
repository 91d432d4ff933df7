package kernel

import (
	"cmp"
	"fmt"
	"regexp"
	"strconv"

	"github.com/k8sp/cuda/pkg/stage"
)

// OldestTried is the oldest kernel line that modules were built for with this program
// and loaded. Older ones are refused: what the build needs of a tree changes with the
// kernel, and nobody has seen it work there.
const OldestTried = "4.9"

// Release is a kernel release, `uname -r`, taken apart.
//
//	4.7.3-coreos-r2    version 4.7.3, flavour coreos, package 2
//	3.17.2+            version 3.17.2, built from a tree with changes
//	6.12.103-flatcar   version 6.12.103, flavour flatcar
//	6.1.0-49-amd64     version 6.1.0, flavour 49-amd64
//	5.10.0-rc3         version 5.10.0, candidate 3
//	6.6.57.1-7.azl3    version 6.6.57, extra 1, flavour 7.azl3
type Release struct {
	// Full is the release to the letter; vermagic and kernel.release must
	// equal it.
	Full string `json:"full"`
	// Version is the numbers as the release writes them: "4.7.3". Debian
	// and others keep it at x.y.0 while they follow the stable updates; see
	// Config.Version for what such a kernel was made of.
	Version string `json:"version"`
	// Extra is a fourth number, as Azure Linux and WSL2 have one; empty elsewhere.
	Extra string `json:"extra,omitempty"`
	// Flavour is the rest: "coreos", "flatcar", "49-amd64".
	Flavour string `json:"flavour,omitempty"`
	// Package is N of CoreOS's and Gentoo's package revision -rN; 0 when
	// there is none.
	Package int `json:"package,omitempty"`
	// Candidate is N of a release candidate -rcN; 0 when there is none.
	Candidate int `json:"candidate,omitempty"`
	// Plus is kbuild's mark of a tree that was not at a tag.
	Plus bool `json:"plus,omitempty"`
}

// releaseLimit is __NEW_UTS_LEN of the kernel's include/uapi/linux/utsname.h.
const releaseLimit = 64

// releaseShape is KERNELVERSION and LOCALVERSION of the kernel's Makefile. The
// separators of the local part cannot repeat, so a release is always a safe
// file name: no slash, no "..".
var releaseShape = regexp.MustCompile(
	`^([0-9]{1,3}\.[0-9]{1,4}(?:\.[0-9]{1,5})?)` + // version
		`(?:\.([0-9]{1,5}))?` + // a fourth number
		`(?:[-~]rc([0-9]{1,3}))?` +
		`(?:[-+_~]((?:[A-Za-z0-9]+[-+._~])*?[A-Za-z0-9]+))??` + // flavour
		`(?:-r([0-9]{1,5}))?` +
		`(\+?)$`)

// ParseRelease takes `uname -r` apart.
func ParseRelease(s string) (Release, error) {
	m := releaseShape.FindStringSubmatch(s)
	if m == nil || len(s) > releaseLimit {
		return Release{}, fmt.Errorf("%.80q is not a kernel release such as 4.19.25-coreos-r1 or 6.12.103-flatcar", s)
	}
	return Release{
		Full:      s,
		Version:   m[1],
		Extra:     m[2],
		Candidate: number(m[3]),
		Flavour:   m[4],
		Package:   number(m[5]),
		Plus:      m[6] != "",
	}, nil
}

// number is a decimal that a pattern has already bounded; "" is 0.
func number(digits string) int {
	n, _ := strconv.Atoi(digits)
	return n
}

// String is the release to the letter.
func (r Release) String() string { return r.Full }

// Numbers are the version's major, minor and patch level: 4, 7, 3.
func (r Release) Numbers() (major, minor, patch int) {
	part := [3]int{}
	i := 0
	for _, c := range r.Version {
		switch {
		case c >= '0' && c <= '9':
			part[i] = part[i]*10 + int(c-'0')
		case i < len(part)-1:
			i++
		}
	}
	return part[0], part[1], part[2]
}

// AtLeast says whether the release is of the line major.minor or a later one.
// A release candidate counts as its line: what a line changed is in from -rc1.
func (r Release) AtLeast(major, minor int) bool {
	a, b, _ := r.Numbers()
	return cmp.Or(cmp.Compare(a, major), cmp.Compare(b, minor)) >= 0
}

// checkLine refuses a release that is older than the line oldest ("5.10").
func checkLine(r Release, oldest string) error {
	line, err := ParseRelease(oldest)
	if err != nil {
		return err
	}
	major, minor, _ := line.Numbers()
	if r.AtLeast(major, minor) {
		return nil
	}
	return stage.New(stage.Detect,
		fmt.Sprintf("kernel %s is older than %s, the oldest kernel line that modules were built for and loaded into: what a build needs of an older tree is not known", r.Full, oldest),
		fmt.Sprintf("use a host whose kernel is %s or later", oldest))
}
