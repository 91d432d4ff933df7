package cuda

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// ReleasesURL is NVIDIA's list of the drivers for data centers, which [ParseReleases]
// reads.
const ReleasesURL = "https://docs.nvidia.com/datacenter/tesla/drivers/releases.json"

// maxReleases bounds that list, in bytes; one of 2026 has some 100 kB.
const maxReleases = 8 << 20

// Release is a driver that can be had for an architecture.
type Release struct {
	// Version is the driver's, "580.126.09".
	Version string
	// Kind is what NVIDIA calls its line: [Production], [LongTerm] or "new
	// feature branch"; empty where that is not known.
	Kind string
}

// Kinds of lines that a user can ask for, as NVIDIA's list has them.
const (
	Production = "production branch"
	LongTerm   = "lts branch"
	newFeature = "new feature branch"
)

// ParseReleases reads NVIDIA's list: an object with a line of drivers by its number,
// each with its type and what was released of it, each of that with its version, its
// architectures, and the address of the package for each (runfile_url). It returns those
// for one architecture, the newest first. Drivers that are not for data centers are not
// in it.
func ParseReleases(text string, arch kernel.Arch) ([]Release, error) {
	var lines map[string]struct {
		Type string `json:"type"`
		Info []struct {
			Version       string            `json:"release_version"`
			Architectures []string          `json:"architectures"`
			URL           map[string]string `json:"runfile_url"`
		} `json:"driver_info"`
	}
	if err := json.Unmarshal([]byte(text), &lines); err != nil {
		return nil, fmt.Errorf("it is no list of NVIDIA's drivers: %w", err)
	}
	var list []Release
	for _, line := range lines {
		for _, release := range line.Info {
			// Some have an address for what they were not built for.
			if IsVersion(release.Version) && release.URL[string(arch)] != "" && slices.Contains(release.Architectures, string(arch)) {
				list = append(list, Release{release.Version, strings.ToLower(line.Type)})
			}
		}
	}
	if len(list) == 0 {
		return nil, fmt.Errorf("it names no driver for %s", arch)
	}
	slices.SortFunc(list, newest)
	return list, nil
}

// FetchReleases is [ParseReleases] of what an address has. Errors are the network's,
// the server's, the format's, or the context's.
func FetchReleases(ctx context.Context, o download.Options, arch kernel.Arch) ([]Release, error) {
	o.Limit = maxReleases
	text, err := download.Text(ctx, o)
	if err != nil {
		return nil, err
	}
	list, err := ParseReleases(text, arch)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", download.Shown(o.URL), err)
	}
	return list, nil
}

// KnownReleases are those for an architecture whose digest is known, the newest first.
func KnownReleases(arch kernel.Arch) []Release {
	var list []Release
	for _, version := range KnownVersions(arch) {
		list = append(list, ReleaseOf(version))
	}
	slices.SortFunc(list, newest)
	return list
}

// knownKinds are those of lines that NVIDIA's list no longer has, or where it is not to
// be had.
var knownKinds = map[string]string{
	"535": LongTerm, "550": Production, "570": Production, "580": LongTerm, "590": newFeature, "595": Production, "610": newFeature, "615": newFeature,
}

// InFolder are those whose packages are in a folder, as [Find] takes them.
func InFolder(dir string, arch kernel.Arch) []Release {
	seen, err := list(dir)
	if err != nil {
		return nil // Find says so
	}
	var found []Release
	for _, p := range seen {
		if p.Arch == arch && p.buildable() {
			found = append(found, ReleaseOf(p.Version))
		}
	}
	return found
}

// ReleaseOf is a driver by its version, of a kind as far as that is known here.
func ReleaseOf(version string) Release { return Release{version, knownKinds[lineOf(version)]} }

// Mirrored are those whose packages [FindMirrored] finds in a folder, the newest first.
func Mirrored(dir string, arch kernel.Arch) []Release {
	list := InFolder(dir, arch)
	for _, folder := range versionFolders(dir, arch) {
		for _, r := range InFolder(folder, arch) {
			if r.Version == filepath.Base(folder) {
				list = append(list, r)
			}
		}
	}
	slices.SortStableFunc(list, newest)
	return slices.Compact(list)
}

// listVersions names them, for people: the newest of many.
func listVersions(list []Release) string {
	const some = 10
	var names []string
	for _, r := range list[:min(len(list), some)] {
		names = append(names, r.Version)
	}
	if n := len(list) - some; n > 0 {
		return fmt.Sprintf("%s and %d older", strings.Join(names, ", "), n)
	}
	return strings.Join(names, ", ")
}

// lineOf is the line that a version belongs to, "580".
func lineOf(version string) string {
	line, _, _ := strings.Cut(version, ".")
	return line
}

func newest(a, b Release) int { return CompareVersions(b.Version, a.Version) }

// A Wish is what a user asks for in place of a version: a line of drivers or a kind
// of line.
type Wish string

// The wishes beside a line's number.
const (
	Latest           Wish = "latest"
	LatestProduction Wish = "production"
	LatestLongTerm   Wish = "lts"
)

var linePattern = regexp.MustCompile(`^\d{3,4}$`)

// ParseWish says whether text is a [Wish].
func ParseWish(text string) (Wish, bool) {
	w := Wish(text)
	return w, linePattern.MatchString(text) || w == Latest || w == LatestProduction || w == LatestLongTerm
}

// Grants says whether a release is of what is asked for.
func (w Wish) Grants(r Release) bool {
	switch w {
	case Latest:
		return true
	case LatestProduction:
		return r.Kind == Production
	case LatestLongTerm:
		return r.Kind == LongTerm
	}
	return lineOf(r.Version) == string(w)
}

func (w Wish) String() string {
	switch w {
	case Latest:
		return "of all drivers"
	case LatestProduction:
		return "of the " + Production + "es"
	case LatestLongTerm:
		return "of the " + LongTerm + "es"
	}
	return "of the line " + string(w)
}

// Choose is the newest release that a wish grants and that fits says nothing against,
// with why it was chosen, for people. From says whose the list is. Its error, of the
// driver stage, is that there is none, with what speaks against the newest.
func (w Wish) Choose(releases []Release, from string, fits func(version string) error) (version, why string, err error) {
	releases = slices.SortedStableFunc(slices.Values(releases), newest)
	var against []string
	seen := map[string]bool{}
	for _, r := range releases {
		if !w.Grants(r) || seen[r.Version] {
			continue
		}
		seen[r.Version] = true
		err := fits(r.Version)
		if err == nil {
			why := fmt.Sprintf("the newest %s that %s has", w, from)
			if n := len(against); n > 0 {
				why += fmt.Sprintf(" and that will do; %d newer will not, %s", n, against[0])
			}
			return r.Version, why, nil
		}
		against = append(against, r.Version+": "+reasonOf(err))
	}
	if len(against) == 0 {
		return "", "", stage.New(stage.Driver, fmt.Sprintf("%s has no driver %s", from, w), "name a version, a line as 580, latest, production or lts with --driver-version")
	}
	return "", "", stage.New(stage.Driver, fmt.Sprintf("none of the %d drivers %s that %s has will do here: %s", len(against), w, from, against[0]),
		"ask for another line with --driver-version")
}

func reasonOf(err error) string {
	if failure := (*stage.Error)(nil); errors.As(err, &failure) {
		return failure.Sentence()
	}
	return err.Error()
}
