package breaks

import (
	"bytes"
	_ "embed" // the table
	"encoding/json"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Check is the name of the check that no known break stands in a build's way, as
// --allow takes it, and the kind of the failure.
const Check = "known-break"

//go:embed breaks.json
var table []byte

// Break is a row of the table: a change in the kernel that versions of the driver do
// not compile with.
type Break struct {
	// Name is what the change is about, "pci_resize_resource".
	Name string `json:"name"`
	// Says says what of the driver does not compile, and why, as a clause.
	Says string `json:"says"`
	// Words recognise it in a line of the compiler's.
	Words Words `json:"words"`
	// Kernels are the versions that have the change, line by line where it was
	// taken into older ones.
	Kernels []Range `json:"kernels"`
	// Config are the options of the kernel, without CONFIG_, which all have to be
	// set, to y or m, for it to matter; none where it always does.
	Config []string `json:"config,omitempty"`
	// Form is the one form of the driver's modules that breaks; empty where both do.
	Form string `json:"form,omitempty"`
	// Module is the module that breaks: a build without it is none the worse.
	Module string `json:"module"`
	// Drivers are the versions that break.
	Drivers []Range `json:"drivers"`
	// Builds are the first versions of their branches that do not, by their sources:
	// whether NVIDIA ever had a package of each is not said.
	Builds []string `json:"builds"`
	// Sources are where it was seen, in public.
	Sources []string `json:"sources"`
	// Confirmed says what was compiled or read here to tell the versions.
	Confirmed []string `json:"confirmed"`
}

// Words are a regular expression.
type Words struct{ *regexp.Regexp }

// UnmarshalText compiles the expression.
func (w *Words) UnmarshalText(text []byte) (err error) {
	w.Regexp, err = regexp.Compile(string(text))
	return err
}

var all = sync.OnceValues(func() ([]Break, error) {
	var list []Break
	decoder := json.NewDecoder(bytes.NewReader(table))
	decoder.DisallowUnknownFields()
	if err := decoder.Decode(&list); err != nil {
		return nil, fmt.Errorf("the table of known breaks: %w", err)
	}
	return list, nil
})

// All is the table, which is built in: it panics where it cannot be read, which its
// test rules out.
func All() []Break {
	list, err := all()
	if err != nil {
		panic(err)
	}
	return list
}

// Pair is a kernel and what is to be built for it.
type Pair struct {
	Kernel Kernel
	// Driver is its version, "570.86.15".
	Driver string
	// Form is "proprietary" or "open".
	Form string
	// Without are the modules that are not built.
	Without []string
}

// Kernel is what the table asks of a kernel. Its zero value is one that is not judged.
type Kernel struct {
	version []int
	// Has says whether an option, without its CONFIG_, is set, to y or m.
	has func(option string) bool
}

// enterprise marks kernels of Red Hat's and those made of its: "5.14.0-427.el9.x86_64".
var enterprise = regexp.MustCompile(`\.el[0-9]`)

// Of is a target's kernel. It goes by the version of the source that the kernel was
// made of, whatever patches its distribution has: changes that break the driver are in
// mainline or a stable line first. Enterprise Linux is the exception, and is not judged:
// it takes in most of what newer kernels have, and stays at its number.
func Of(t kernel.Target) Kernel {
	if enterprise.MatchString(t.Release.Full) {
		return Kernel{}
	}
	r := t.Release
	// Debian's 6.1.0-49-amd64 is made of 6.1.174.
	if made, err := kernel.ParseRelease(t.Config.Version); err == nil {
		r = made
	}
	major, minor, patch := r.Numbers()
	return Kernel{[]int{major, minor, patch}, t.Config.Has}
}

// Version is a kernel by its number alone, with every option set.
func Version(text string) Kernel {
	return Kernel{numbers(text), func(string) bool { return true }}
}

// concerns says whether a break is one of the kernel's.
func (b Break) concerns(k Kernel) bool {
	return len(k.version) > 0 && within(b.Kernels, k.version) &&
		!slices.ContainsFunc(b.Config, func(option string) bool { return !k.has(option) })
}

// stops says whether a break stands in the way of a pair.
func (b Break) stops(p Pair) bool {
	return b.concerns(p.Kernel) && b.breaks(p)
}

// breaks says whether it breaks what is to be built, on a kernel that it concerns.
func (b Break) breaks(p Pair) bool { return within(b.Drivers, numbers(p.Driver)) && b.touches(p) }

// touches says whether what is to be built has in it what breaks.
func (b Break) touches(p Pair) bool {
	return (b.Form == "" || b.Form == p.Form) && !slices.Contains(p.Without, b.Module)
}

// Where says which kernels have the change: "6.12 from 6.12.97 on, 6.19 and later".
func (b Break) Where() string {
	var clauses []string
	for _, r := range b.Kernels {
		clauses = append(clauses, r.String())
	}
	return strings.Join(clauses, ", ")
}

// Find returns the breaks that stand in the way of a pair, in the table's order.
func Find(p Pair) []Break {
	return slices.DeleteFunc(slices.Clone(All()), func(b Break) bool { return !b.stops(p) })
}

// Explain finds the break that a line of the compiler's tells of. Known says that it is
// known of the pair; otherwise it is one that the driver has with other kernels, and that
// this one may have by a patch of its distribution's.
func Explain(line string, p Pair) (b Break, known, ok bool) {
	for _, row := range All() {
		switch {
		case !row.breaks(p) || !row.Words.MatchString(line):
		case row.concerns(p.Kernel):
			return row, true, true
		case !ok:
			b, ok = row, true
		}
	}
	return b, false, ok
}

// Nearest is the version next to a pair's driver that builds on its kernel, as far as
// the table knows: a newer one of the same branch, or else of the next branches. It is
// one of those at which a break ends, or of others that the caller knows of, and one that
// would do for the caller; empty where there is none.
func Nearest(p Pair, others []string, does func(version string) bool) string {
	candidates := slices.Clone(others)
	for _, b := range All() {
		candidates = append(candidates, b.Builds...)
	}
	slices.SortFunc(candidates, compare)
	for _, version := range candidates {
		if compare(version, p.Driver) > 0 && p.with(version).builds() && does(version) {
			return version
		}
	}
	return ""
}

// with is the pair with another driver.
func (p Pair) with(driver string) Pair {
	p.Driver = driver
	return p
}

// builds says whether the pair is past every break of its kernel. That is more than
// none being known of it: of a version in a branch of which the table has only older
// ones nobody has seen that it is.
func (p Pair) builds() bool {
	return !slices.ContainsFunc(All(), func(b Break) bool {
		return b.concerns(p.Kernel) && b.touches(p) && !b.spares(numbers(p.Driver))
	})
}

// spares says whether a version of the driver is known not to break: it is older than
// the first that does, or not older than one of its branch that builds, or of a branch
// after all that the table knows.
func (b Break) spares(driver []int) bool {
	if slices.Compare(driver, b.Drivers[0].first) < 0 {
		return true
	}
	newest := 0
	for _, text := range b.Builds {
		version := numbers(text)
		if version[0] == driver[0] && slices.Compare(driver, version) >= 0 {
			return true
		}
		newest = max(newest, version[0])
	}
	return driver[0] > newest
}
