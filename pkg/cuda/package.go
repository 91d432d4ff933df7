package cuda

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// Kind is the form in which a user has a driver package.
type Kind string

// A package is an unpacked folder, or NVIDIA's self-extracting file.
const (
	Folder  Kind = "folder"
	RunFile Kind = "run"
)

// Package is a driver package that a user has put down, or that was fetched.
// Nothing but its name has been looked at.
type Package struct {
	// Path is the folder or the file.
	Path string
	Kind Kind
	// Version is the driver's, "535.261.03".
	Version string
	// Arch is the architecture in the name, which may be one that Linux
	// containers no longer run on ("x86").
	Arch kernel.Arch
	// Variant is what the name says after the version: "no-compat32",
	// "grid", "grid-aws", "vgpu-kvm"; empty for the usual package.
	Variant string
	// Fetched says that [Fetch] put it there, and that it may be removed.
	Fetched bool
}

// Name is the last element of the package's path.
func (p Package) Name() string { return filepath.Base(p.Path) }

var (
	packageName    = regexp.MustCompile(`^NVIDIA-Linux-([a-z0-9_]+(?:-gnueabihf)?)-(\d+(?:\.\d+){1,2})(?:-([a-z][a-z0-9-]*))?(\.run)?$`)
	versionPattern = regexp.MustCompile(`^\d+(\.\d+){1,2}$`)
)

// buildable says whether a package holds modules for this use: the usual one, or
// a variant of it. A vGPU host's ("vgpu-kvm") are others, for hypervisors.
func (p Package) buildable() bool {
	return p.forGuests() || slices.Contains([]string{"", "no-compat32", "custom"}, p.Variant)
}

// forGuests says whether a package is for guests with a vGPU: NVIDIA's "grid",
// or a cloud's "grid-aws", "grid-azure".
func (p Package) forGuests() bool {
	return p.Variant == "grid" || strings.HasPrefix(p.Variant, "grid-")
}

// Find returns the driver package to use of those in the folder dir: the newest
// for arch, or the one of the given version where that is not empty. Of one version an unpacked folder
// goes before a file, and the usual package before a variant of it. Its errors
// are of the driver stage; [Absent] tells those that a download would help.
func Find(ctx context.Context, dir string, arch kernel.Arch, version string) (Package, error) {
	seen, err := list(dir)
	if err != nil {
		return Package{}, stage.Wrap(stage.Driver, err, fmt.Sprintf("cannot look for a driver package in %s", dir), "make the folder readable")
	}
	usable := slices.DeleteFunc(slices.Clone(seen), func(p Package) bool {
		return p.Arch != arch || !p.buildable()
	})
	is := func(p Package) bool { return p.Arch == arch && p.Version == version }
	i := 0
	if version != "" {
		i = slices.IndexFunc(usable, is)
	}
	// Who put such a package there does not want another of that version.
	if other := slices.IndexFunc(seen, is); other >= 0 && i < 0 {
		return Package{}, stage.New(stage.Driver,
			fmt.Sprintf("the only package of driver %s in %s is for hypervisors or of a kind that is not known: %s", version, dir, seen[other].Name()),
			fmt.Sprintf("put NVIDIA-Linux-%s-%s.run there, or take that package away to have it downloaded", arch, version))
	}
	if len(usable) == 0 {
		return Package{}, absentOf(noneError(dir, arch, seen))
	}
	if i < 0 {
		return Package{}, absentOf(notThere(dir, version, versions(usable)))
	}
	log := zerolog.Ctx(ctx)
	log.Info().Strs("seen", names(seen)).Str("chosen", usable[i].Name()).Msg("driver package")
	for _, p := range seen {
		if why := p.passedOver(usable[i], version != ""); why != "" {
			log.Info().Str("package", p.Name()).Str("why", why).Msg("this one is passed over")
		}
	}
	others := strangers(dir)
	for _, name := range slices.Sorted(maps.Keys(others)) {
		log.Warn().Str("file", name).Str("why", others[name]).Msg("this is not taken for a driver package")
	}
	return usable[i], nil
}

// passedOver says why another package of the folder was chosen; empty of that one.
func (p Package) passedOver(chosen Package, asked bool) string {
	switch {
	case p.Path == chosen.Path:
		return ""
	case p.Arch != chosen.Arch:
		return "the kernel is " + string(chosen.Arch)
	case !p.buildable():
		return "it is for hypervisors or of a kind that is not known"
	case p.Version != chosen.Version && asked:
		return "another version is asked for"
	case p.Version != chosen.Version:
		return "a newer one is there; --driver-version names another"
	case p.Kind != chosen.Kind:
		return "its unpacked folder is there"
	}
	return "the usual package of this version is there"
}

// strangers are the files of a folder that somebody may have meant as a driver's
// package, each with why it is none.
func strangers(dir string) map[string]string {
	entries, err := beneath.ReadDir(dir)
	if err != nil {
		return nil
	}
	found := map[string]string{}
	for _, e := range entries {
		name := e.Name()
		_, isPackage := parseName(filepath.Join(dir, name))
		switch {
		case isPackage:
		case packageName.MatchString(name):
			found[name] = "it is neither a file nor a folder"
		case toolkitName.MatchString(name):
			found[name] = "it is the CUDA toolkit's installer, which holds a driver package"
		case strings.HasSuffix(name, ".run"), strings.HasPrefix(name, "NVIDIA-Linux-"):
			found[name] = "a driver's package is called NVIDIA-Linux-ARCH-VERSION.run as NVIDIA serves it, and without .run where it is unpacked"
		}
	}
	return found
}

var toolkitName = regexp.MustCompile(`^cuda_.*\.run$`)

// FindMirrored is [Find] in a folder that holds packages, or the folders of NVIDIA's
// server as a mirror of it has them.
func FindMirrored(ctx context.Context, dir string, arch kernel.Arch, version string) (Package, error) {
	if version == "" {
		if there := Mirrored(dir, arch); len(there) > 0 {
			version = there[0].Version
		}
	}
	p, err := Find(ctx, dir, arch, version)
	if !Absent(err) || version == "" {
		return p, err
	}
	for _, folder := range versionFolders(dir, arch) {
		if filepath.Base(folder) != version {
			continue
		}
		if p, other := Find(ctx, folder, arch, version); !Absent(other) {
			return p, other
		}
	}
	if there := Mirrored(dir, arch); len(there) > 0 {
		return Package{}, absent{notThere(dir, version, listVersions(there))}
	}
	return Package{}, err
}

// versionFolders are those of NVIDIA's server that a mirror of it in a folder has, each
// for the packages of one version.
func versionFolders(dir string, arch kernel.Arch) []string {
	var found []string
	for _, folder := range folders[arch] {
		at := filepath.Join(dir, filepath.FromSlash(folder))
		entries, err := beneath.ReadDir(at)
		if err != nil {
			continue // most mirrors have one of them
		}
		for _, e := range entries {
			if e.IsDir() && IsVersion(e.Name()) {
				found = append(found, filepath.Join(at, e.Name()))
			}
		}
	}
	return found
}

// notThere is the error of a search for a version among others.
func notThere(dir, version, others string) *stage.Error {
	return stage.New(stage.Driver, fmt.Sprintf("driver %s is not in %s, which has %s", version, dir, others),
		"ask for one of those or for none, which means the newest, or put the package there")
}

// absent is the failure of a search that found no package which would do.
type absent struct{ failure *stage.Error }

func (a absent) Error() string { return a.failure.Error() }
func (a absent) Unwrap() error { return a.failure }

// noDriverKind is the kind of that failure.
const noDriverKind = "no-driver"

func absentOf(e *stage.Error) absent {
	e.Kind = noDriverKind
	return absent{e}
}

// Absent says whether an error of [Find] is that there is no package of the
// version, and not that it could not be looked for.
func Absent(err error) bool { return errors.As(err, &absent{}) }

// IsVersion says whether text has the form of a driver's version, "535.261.03".
func IsVersion(text string) bool { return versionPattern.MatchString(text) }

// list returns the packages in dir, best first. A folder that is not there
// holds none.
func list(dir string) ([]Package, error) {
	entries, err := beneath.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var found []Package
	for _, e := range entries {
		if p, ok := parseName(filepath.Join(dir, e.Name())); ok {
			found = append(found, p)
		}
	}
	slices.SortStableFunc(found, better)
	return found, nil
}

// parseName makes a package of a path whose name is one's, and which is there
// in the form that the name promises.
func parseName(name string) (Package, bool) {
	m := packageName.FindStringSubmatch(filepath.Base(name))
	if m == nil {
		return Package{}, false
	}
	p := Package{Path: name, Kind: Folder, Arch: kernel.Arch(m[1]), Version: m[2], Variant: m[3]}
	info, err := beneath.Lstat(name)
	if err != nil {
		return Package{}, false
	}
	if m[4] != "" {
		p.Kind = RunFile
		return p, info.Mode().IsRegular()
	}
	return p, info.IsDir()
}

// better orders packages: newest version first, then the unpacked folder, then
// the usual variant.
func better(a, b Package) int {
	return cmp.Or(
		CompareVersions(b.Version, a.Version),
		cmp.Compare(a.Kind, b.Kind), // "folder" < "run"
		cmp.Compare(a.Variant, b.Variant),
		cmp.Compare(a.Arch, b.Arch),
	)
}

// CompareVersions compares driver versions number by number, as [slices.SortFunc]
// wants it: 535.9 comes before 535.104.
func CompareVersions(a, b string) int {
	numbers := func(v string) (list []int) {
		for part := range strings.SplitSeq(v, ".") {
			n, _ := strconv.Atoi(part)
			list = append(list, n)
		}
		return list
	}
	return slices.Compare(numbers(a), numbers(b))
}

// noneError says why there is no package for arch.
func noneError(dir string, arch kernel.Arch, seen []Package) *stage.Error {
	want := fmt.Sprintf("NVIDIA-Linux-%s-VERSION", arch)
	hint := fmt.Sprintf("put %s.run there, or its unpacked folder, as run.sh does; or name a version to download with --driver-version", want)
	if len(seen) == 0 {
		reason := fmt.Sprintf("no NVIDIA driver package is in %s, and the modules are built from one", dir)
		others := strangers(dir)
		for _, name := range slices.Sorted(maps.Keys(others)) {
			reason += fmt.Sprintf("; %s is none: %s", name, others[name])
		}
		return stage.New(stage.Driver, reason, hint)
	}
	if !slices.ContainsFunc(seen, func(p Package) bool { return p.Arch == arch }) {
		return stage.New(stage.Driver,
			fmt.Sprintf("the kernel is %s, and %s has driver packages for other architectures only: %s", arch, dir, strings.Join(names(seen), ", ")), hint)
	}
	return stage.New(stage.Driver,
		fmt.Sprintf("%s has driver packages for hypervisors or of a kind that is not known only: %s", dir, strings.Join(names(seen), ", ")), hint)
}

func names(packages []Package) []string {
	list := make([]string, len(packages))
	for i, p := range packages {
		list[i] = p.Name()
	}
	return list
}

func versions(packages []Package) string {
	list := make([]string, len(packages))
	for i, p := range packages {
		list[i] = p.Version
	}
	return strings.Join(slices.Compact(list), ", ")
}
