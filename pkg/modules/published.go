package modules

import (
	"bytes"
	"cmp"
	"crypto/sha256"
	"crypto/x509"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/types"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// Found is what [Publish] left for a release and driver version.
type Found struct {
	Manifest Manifest
	// Link is the path by which users and the kernel know the folder with the
	// files. It leads elsewhere once others are published.
	Link string
	// Dir is the folder itself. It holds these files or, once others are
	// published, none.
	Dir string
}

// Path is the manifest's.
func (f Found) Path() string { return filepath.Join(f.Link, ManifestFile) }

// Replaced says whether others were published since.
func (f Found) Replaced() bool {
	now, err := publish.Led(f.Link)
	return err == nil && now != f.Dir
}

// Find finds what [Publish] left for a release and driver version. Every file
// is read and held against the manifest; an error means that the result is not
// to be used, fs.ErrNotExist that there is none. Where trust is not nil, nothing of
// it is looked at that nobody trusted has signed, and a [publish.UntrustedError] says
// why. Whoever does not hold the share's lock may have the result replaced while it is
// read, and is given the one that took its place.
func Find(s *share.Share, release, version string, trust publish.Trust) (Found, error) {
	return find(s, release, version, func(dir string) (Manifest, error) { return readManifest(dir, trust) })
}

func find(s *share.Share, release, version string, read func(dir string) (Manifest, error)) (Found, error) {
	link, err := location(s, release, version)
	if err != nil {
		return Found{}, err
	}
	f := Found{Link: link}
	f.Dir, err = publish.Read(link, func(dir string) error {
		m, err := read(dir)
		if err == nil {
			err = m.whole(dir)
		}
		if err == nil && (m.Target.Release != release || m.Driver.Version != version) {
			err = fmt.Errorf("%s holds modules of %s for %s", link, m.Driver.Version, m.Target.Release)
		}
		f.Manifest = m
		return err
	})
	if err != nil {
		return Found{}, err
	}
	return f, nil
}

// Releases are the kernels that a share has modules for, sorted; none where
// there are no modules at all.
func Releases(s *share.Share) ([]string, error) { return folders(s.Modules()) }

// Versions are the drivers that a share has modules of for a kernel, sorted by
// name.
func Versions(s *share.Share, release string) ([]string, error) {
	if !IsName(release) {
		return nil, nil
	}
	return folders(s.Release(release))
}

// Driver is a driver's version for a kernel's release.
type Driver struct{ Release, Version string }

// Selects says whether a driver is one of those that are meant: by one that has no release,
// those for all kernels, and by one that has no version, all for a kernel.
func (d Driver) Selects(other Driver) bool {
	return cmp.Or(d.Release, other.Release) == other.Release && cmp.Or(d.Version, other.Version) == other.Version
}

// Drivers are those that a share has modules of, sorted by release and version.
func Drivers(s *share.Share) (list []Driver, err error) {
	releases, err := Releases(s)
	if err != nil {
		return nil, err
	}
	for _, release := range releases {
		versions, err := Versions(s, release)
		if err != nil {
			return nil, err
		}
		for _, version := range versions {
			list = append(list, Driver{release, version})
		}
	}
	return list, nil
}

// folders are the names of those entries of a folder that can hold published
// modules, or lead there.
func folders(dir string) ([]string, error) {
	entries, err := beneath.ReadDir(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	var names []string
	for _, e := range entries {
		if !IsName(e.Name()) {
			continue // a folder named after its content, which a link leads to
		}
		folder, err := publish.Led(filepath.Join(dir, e.Name()))
		if err != nil {
			continue
		}
		if info, err := beneath.Lstat(folder); err == nil && info.IsDir() {
			names = append(names, e.Name())
		}
	}
	return names, err
}

// whole says which of the files that the manifest names is not in a folder as it
// was published.
func (m Manifest) whole(dir string) error {
	for _, f := range m.files() {
		if reason := f.published().Differs(dir); reason != "" {
			return errors.New(reason)
		}
	}
	return nil
}

func readManifest(dir string, trust publish.Trust) (Manifest, error) {
	text, err := publish.ReadIndex(dir, ManifestFile, maxManifest, trust)
	if err != nil {
		return Manifest{}, err
	}
	m, err := ParseManifest(bytes.NewReader(text))
	if err != nil {
		return Manifest{}, fmt.Errorf("%s: %w", filepath.Join(dir, ManifestFile), err)
	}
	return m, nil
}

// describeFile is the file at path as a manifest lists it.
func describeFile(path string) (File, error) {
	sum, n, err := publish.DigestFile(path)
	return File{Name: filepath.Base(path), Size: n, SHA256: sum}, err
}

// Verify holds a published folder against a kernel: tomorrow's, or a node's.
// Its findings are those of the gate, and before them, as the check "intact",
// whether each file is still the one that was published. Signatures of the modules
// are held against cert, where it is not nil, and that of the manifest, as the check
// [TrustedCheck] that comes first, where trust is not nil. Its error is of the check
// stage, or an [*UnreadError], and means that the folder could not be judged at all.
func Verify(dir string, target kernel.Target, cert *x509.Certificate, trust publish.Trust) ([]Check, error) {
	m, err := readManifest(dir, trust)
	checks, untrusted := CheckTrust(trust, err)
	if untrusted {
		m, err = readManifest(dir, nil)
	}
	if errors.Is(err, fs.ErrNotExist) {
		return nil, stage.Wrap(stage.Check, err, fmt.Sprintf("%s holds no %s, so there is nothing to verify", dir, ManifestFile),
			"name a folder that builder published: SHARE/modules/REL/VER")
	}
	if err != nil {
		return nil, stage.Wrap(stage.Check, err, fmt.Sprintf("the manifest in %s cannot be read", dir), "publish again with this builder")
	}
	for _, e := range m.Modules {
		checks = append(checks, intactCheck(dir, e.file(), e.Name))
	}
	for _, f := range m.others() {
		checks = append(checks, intactCheck(dir, f, ""))
	}
	findings, err := m.Gate(dir, target, cert)
	for i := range findings {
		if j := slices.IndexFunc(m.Modules, func(e Entry) bool { return e.Name == findings[i].Module }); j >= 0 {
			findings[i].File = m.Modules[j].File
		}
	}
	return append(checks, findings...), err
}

// UntrustedKind is the kind of failure that nobody who is trusted has signed something.
const UntrustedKind = "untrusted"

// TrustedCheck is the name of the check whether somebody who is trusted has signed a
// manifest.
const TrustedCheck = "trusted"

// CheckTrust is what reading a manifest that is to be signed came to, as a finding;
// none where nobody asked, or for another error than a [publish.UntrustedError].
func CheckTrust(trust publish.Trust, err error) (checks []Check, untrusted bool) {
	var why *publish.UntrustedError
	untrusted = errors.As(err, &why)
	c := Check{Name: TrustedCheck, Kind: PolicyCheck, Verdict: Passed}
	switch {
	case trust == nil || err != nil && !untrusted:
		return nil, false
	case untrusted:
		c.Verdict, c.Detail = Failed, why.Reason
	}
	return []Check{c}, untrusted
}

// Gate holds the manifest's modules, which are in dir, against a kernel:
// [Verify] of files that were found intact. Those that are not there are not
// looked at. Where the target does not know enough of what they use its error is
// an [*UnreadError].
func (m Manifest) Gate(dir string, target kernel.Target, cert *x509.Certificate) ([]Check, error) {
	var paths, want []string
	for _, e := range m.Modules {
		want = append(want, e.Name)
		if info, err := beneath.Lstat(filepath.Join(dir, e.File)); err == nil && info.Mode().IsRegular() {
			paths = append(paths, filepath.Join(dir, e.File))
		}
	}
	mods, err := ReadAll(paths)
	if err == nil && cert != nil {
		mods, err = Authenticate(mods, cert)
	}
	if err != nil {
		return nil, stage.Wrap(stage.Check, err, "a published module cannot be read", "let builder read all of the share, or build again")
	}
	if err := CheckRead(mods, target); err != nil {
		return nil, err
	}
	expect := m.expect(dir, want)
	if m.Target.Release == target.Release.Full {
		expect.Loader = m.Build.Loader
	}
	return Gate(mods, target, expect), nil
}

func intactCheck(dir string, f File, module string) Check {
	c := Check{Name: "intact", Kind: PolicyCheck, Module: module, File: f.Name, Verdict: Passed}
	if reason := f.published().Differs(dir); reason != "" {
		c.Verdict, c.Detail = Failed, reason
	}
	return c
}

// expect is what published modules should be. What only the driver package can
// tell is taken from the checks that were made when it was at hand.
func (m Manifest) expect(dir string, names []string) Expect {
	recorded := func(check, module string, v Verdict) bool {
		return slices.ContainsFunc(m.Checks, func(c Check) bool { return c.Name == check && c.Module == module && c.Verdict == v })
	}
	x := Expect{Modules: names, InTree: map[string][]string{}, Source: m.Source.With(m.Target.Config.From)}
	x.Types, x.TypesUnknown = m.readTypes(dir)
	if i := slices.IndexFunc(m.Checks, func(c Check) bool { return c.Name == SourceCRCsCheck && c.Verdict != NotCheckable }); i >= 0 {
		x.SourceCRCsFound = &m.Checks[i]
	}
	for _, e := range m.Modules {
		// What was not to be seen at the build was assumed, and may be seen now.
		x.InTree[e.Name] = e.InTree
		if recorded("firmware", e.Name, Passed) {
			x.Firmware = append(x.Firmware, e.Firmware...)
		}
		x.Debug = x.Debug || recorded("debug", e.Name, Passed)
	}
	return x
}

// maxTypes bounds the file of a record, in bytes; those of drivers have 0.2 MB.
const maxTypes = 8 << 20

// readTypes reads what the modules were compiled with; where that is not to be had it
// says why.
func (m Manifest) readTypes(dir string) (*types.Record, string) {
	if m.Types == nil {
		i := slices.IndexFunc(m.Checks, func(c Check) bool { return c.Name == LayoutCheck && c.Verdict == NotCheckable })
		if i >= 0 {
			return nil, m.Checks[i].Detail
		}
		return nil, "the modules were published by a builder that did not record what they were compiled with: build again"
	}
	file, err := beneath.Open(filepath.Join(dir, m.Types.Name))
	if err != nil {
		return nil, "the record of what the modules were compiled with cannot be opened: " + err.Error()
	}
	defer file.Close()
	// It is read once: what is looked at is what was published.
	text, err := io.ReadAll(io.LimitReader(file, maxTypes))
	if err != nil {
		return nil, "the record of what the modules were compiled with cannot be read: " + err.Error()
	}
	if sum := sha256.Sum256(text); hex.EncodeToString(sum[:]) != m.Types.SHA256 {
		return nil, fmt.Sprintf("the record of what the modules were compiled with, %s, is not the one that was published: build again", m.Types.Name)
	}
	record, err := types.ReadRecord(bytes.NewReader(text))
	if err != nil {
		return nil, fmt.Sprintf("the record of what the modules were compiled with, %s, cannot be read: %v", m.Types.Name, err)
	}
	return record, ""
}
