// Package askonce has kbuild ask a shell each question once.
//
// kbuild finds things out by $(shell …): whether the compiler takes a flag, what
// the kernel's release is, what to pass to pahole. Much of it is in variables
// that are expanded wherever they are used, and those that are exported are
// used for every command that make starts, since GNU make 4.4 for every
// $(shell …) as well. In Linux 6.1 that is a dozen processes each time, one
// after the other while make waits: a quarter of the time of a driver's build.
// The answers are the same every time.
//
// [Makefile] is a makefile for make's variable MAKEFILES, by which every make of
// a build reads it first. Nothing of kbuild or of a driver is changed, and the
// same is compiled with the same flags.
package askonce

import (
	_ "embed"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
)

//go:embed askonce.mk
var fixed string

// Makefile is what to read before the makefiles of the kernel's source tree at
// the folder source. The variables named in changing are left as they are: those
// whose answer changes while one make runs.
func Makefile(source string, changing ...string) ([]byte, error) {
	text, err := beneath.ReadFile(filepath.Join(source, "Makefile"))
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return nil, err
	}
	var out strings.Builder
	out.WriteString(fixed)
	for _, found := range asking.FindAllStringSubmatch(string(text), -1) {
		name, value := found[1], found[2]
		if !slices.Contains(known, name) || slices.Contains(changing, name) || assigned(text, name) != 1 {
			continue
		}
		// The first use makes it what it came out as.
		fmt.Fprintf(&out, "override %[1]s = $(eval override %[1]s := %[2]s)$(%[1]s)\n",
			name, strings.ReplaceAll(value, "$", "$$"))
	}
	return []byte(out.String()), nil
}

// known are the variables of the kernel's Makefile that ask the same throughout.
// What a vendor's tree has beside them, and may have in one branch of a
// conditional, stays as it is.
var known = []string{"CC_VERSION_TEXT", "KERNELRELEASE", "PAHOLE_FLAGS", "PAHOLE_VERSION", "RUSTC_VERSION_TEXT"}

// assigned is how often a makefile gives a variable a value.
func assigned(makefile []byte, name string) int {
	return len(regexp.MustCompile(`(?m)^[ \t]*(?:(?:export|override)[ \t]+)*`+name+`[ \t]*[:?+!]*=`).FindAll(makefile, -1))
}

// asking finds variables of the kernel's Makefile that are expanded at each use
// and then ask a shell, on one line:
//
//	KERNELRELEASE = $(shell cat include/config/kernel.release 2> /dev/null)
var asking = regexp.MustCompile(`(?m)^([A-Z_]+)[ \t]*=[ \t]*([^\n]*\$\(shell [^\n]*[^\\\n])$`)
