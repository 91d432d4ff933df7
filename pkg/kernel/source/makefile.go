package source

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
)

// version is what a kernel's top Makefile says of itself.
type version struct {
	number string // "4.7.3"
	extra  string // EXTRAVERSION: "", "-coreos", "-rc8"
}

// maxMakefile bounds what is read for the version: it stands in the first
// lines, and the whole file is some 70 kB.
const maxMakefile = 64 << 10

// readVersion reads the version of the tree at dir. A Makefile that is a link
// out of the tree is not followed.
func readVersion(dir string) (version, error) {
	f, err := beneath.Open(filepath.Join(dir, "Makefile"))
	if err != nil {
		return version{}, err
	}
	defer f.Close()
	return parseVersion(f)
}

var assignment = regexp.MustCompile(`^(VERSION|PATCHLEVEL|SUBLEVEL|EXTRAVERSION)\s*=\s*([0-9A-Za-z.+_-]*)\s*$`)

// parseVersion reads the four assignments at the top of a kernel's Makefile.
func parseVersion(r io.Reader) (version, error) {
	found := map[string]string{}
	lines := bufio.NewScanner(io.LimitReader(r, maxMakefile))
	for lines.Scan() && len(found) < 4 {
		if m := assignment.FindStringSubmatch(lines.Text()); m != nil {
			found[m[1]] = m[2]
		}
	}
	if err := lines.Err(); err != nil {
		return version{}, fmt.Errorf("read Makefile: %w", err)
	}
	for _, name := range []string{"VERSION", "PATCHLEVEL", "SUBLEVEL"} {
		if found[name] == "" {
			return version{}, errors.New("its Makefile is not a kernel's: it sets no " + name)
		}
	}
	number := strings.Join([]string{found["VERSION"], found["PATCHLEVEL"], found["SUBLEVEL"]}, ".")
	return version{number: number, extra: found["EXTRAVERSION"]}, nil
}

func (v version) String() string { return v.number + v.extra }

// builds says whether a tree of this version can build the release. Its
// EXTRAVERSION may be a part of the release's own suffix (-coreos of
// -coreos-r2) and no other: the rest comes from the config and the tree's git
// state, which the next stage compares to the letter.
func (v version) builds(r kernel.Release) bool {
	if v.number != r.Version {
		return false
	}
	rest, ok := strings.CutPrefix(strings.TrimPrefix(r.Full, r.Version), v.extra)
	return ok && (v.extra == "" || rest == "" || strings.ContainsAny(rest[:1], "-+."))
}
