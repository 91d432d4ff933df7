package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/patch"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// choice is the driver package to build from.
type choice struct {
	// pkg is where it is, or will be once it is downloaded.
	pkg cuda.Package
	// chosen says why it is of this version, where a wish was asked for in place of one.
	chosen string
	// absent says why it is not there, and so is downloaded; nil where it is.
	absent error
	// digest is sha256:HEX of it. It is empty only where a package is not there
	// and nobody says what its digest must be.
	digest string
	// served is what the server says of the digest, where nobody else does.
	served cuda.Served
	// mirrored says that it is in a folder that stands for a server.
	mirrored bool
	// vouched is what is known of that digest.
	vouched []modules.Check
	// allowed are the failures of checks that the choice did not pass, and that the
	// user allows.
	allowed []modules.Check
	// preference is the form of its modules to build.
	preference cuda.Preference
	// instead says that it is the other one than is preferred, which is known not to
	// compile.
	instead bool
	// foreseen is what is known to stand in the way of a build, and allowed.
	foreseen []modules.Check
	// refusal is the error where that is not allowed, and what is published already
	// may serve all the same; nil elsewhere.
	refusal error
}

// says is what a plan has of it.
func (c choice) says(s site, needed bool) Step {
	from := "from " + s.whence(c)
	if c.absent != nil && !needed {
		from = "whose package is not there, and not needed"
	}
	return Step{stage.Driver, fmt.Sprintf("driver %s %s; %s modules: %s", c.pkg.Version, from, c.preference.Type, c.preference.Why)}
}

// whence says where the driver package is, or is to come from.
func (s site) whence(c choice) string {
	if c.absent == nil {
		return c.pkg.Path
	}
	from := download.Shown(cmp.Or(s.DriverBaseURL, cuda.Server)) + ", downloaded to " + c.pkg.Path
	if c.digest != "" {
		from += " if its digest is " + c.digest
	}
	return from
}

// chooseDriver picks the driver package. One whose digest is known beforehand
// need not be there.
func (s site) chooseDriver(ctx context.Context, what setting) (choice, error) {
	wished, err := s.chooseVersion(ctx, what)
	if err != nil {
		return choice{}, err
	}
	c, err := s.findDriver(ctx, what, wished.pkg.Version)
	if err != nil {
		return choice{}, err
	}
	c.chosen, c.instead = wished.chosen, wished.instead
	if err := s.suits(what, &c); err != nil {
		return choice{}, err
	}
	if c, err = s.foreseeFirst(ctx, what, c); err != nil {
		return choice{}, err
	}
	if c.absent != nil {
		if c, err = s.findDownload(ctx, c); err != nil {
			return choice{}, err
		}
	}
	if c.absent != nil {
		c.digest = s.wantedDigest(c)
		return c, nil
	}
	c.digest, err = s.digestOf(ctx, c.pkg)
	return c, err
}

// suits settles the form of a driver's modules, and refuses a driver that is known to
// be of no use here.
func (s site) suits(what setting, c *choice) (err error) {
	gpus := cuda.GPUs(what.target.PCI)
	if c.preference, err = cuda.Prefer(s.ModuleType, c.pkg, gpus); err != nil {
		return err
	}
	if c.instead {
		why := fmt.Sprintf("the %s ones are known not to compile against this kernel", c.preference.Type)
		if other, ok := c.preference.Otherwise(c.pkg, why); ok {
			c.preference = other
		}
	}
	return s.allows(c, cuda.Unserved(c.preference.Type, c.pkg.Version, gpus))
}

// chooseVersion is the version to build, and why, where the user asks for a line of
// drivers or the like: the newest that suits of those that NVIDIA lists and that are
// there. Where that list is not to be had it is one of those that are there, and where
// none of these is what was asked for, of those that are known. Where none of them will
// do in the form that is preferred, it is the newest that will in the other. It is what
// the user says where that is a version or nothing.
func (s site) chooseVersion(ctx context.Context, what setting) (choice, error) {
	if what.wished != nil {
		return *what.wished, nil
	}
	wish, is := cuda.ParseWish(s.DriverVersion)
	if !is {
		return choice{pkg: cuda.Package{Version: s.DriverVersion}}, nil
	}
	releases, from := s.releases(ctx, wish, what.target.Arch)
	var c choice
	choose := func(instead bool) (err error) {
		_, c.chosen, err = wish.Choose(releases, from, func(version string) error {
			c = choice{pkg: cuda.Package{Version: version, Arch: what.target.Arch}, instead: instead}
			err := s.suits(what, &c)
			if err == nil {
				_, err = s.foresee(ctx, what, c, c.preference.Type)
			}
			return err
		})
		return err
	}
	err := choose(false)
	var failure *stage.Error
	if errors.As(err, &failure) && choose(true) == nil {
		c.chosen += fmt.Sprintf(", for its %s modules; for the preferred ones %s", c.preference.Type, failure.Sentence())
		err = nil
	}
	if err != nil {
		return choice{}, err
	}
	zerolog.Ctx(ctx).Info().Str("asked", s.DriverVersion).Str("version", c.pkg.Version).Str("type", c.preference.Type).Str("why", c.chosen).Msg("driver version")
	return c, nil
}

// chooseFirst chooses the version before anything is built, where a line of drivers or the
// like is asked for and a registry is to be: that knows them by their version.
func (s site) chooseFirst(ctx context.Context, b *brackets, what setting) (setting, error) {
	if _, is := cuda.ParseWish(s.DriverVersion); !is || s.Registry.Repository == "" || s.Offline {
		return what, nil
	}
	c, err := s.chooseVersion(b.enter(ctx, stage.Driver), what)
	what.wished = &c
	return what, err
}

// named is the site as if the driver that was chosen had been asked for.
func (w setting) named(s site) site {
	if w.wished != nil {
		s.DriverVersion, s.ModuleType = w.wished.pkg.Version, w.wished.preference.Type
	}
	return s
}

// releases are the drivers to choose from, and whose list that is.
func (s site) releases(ctx context.Context, wish cuda.Wish, arch kernel.Arch) (list []cuda.Release, from string) {
	there := cuda.InFolder(s.share.CUDA(), arch)
	if filepath.IsAbs(s.DriverBaseURL) {
		return append(there, cuda.Mirrored(s.DriverBaseURL, arch)...), s.DriverBaseURL
	}
	if !s.Offline {
		at := cmp.Or(s.DriverReleases, cuda.ReleasesURL)
		if base, err := url.Parse(s.DriverBaseURL); s.DriverReleases == "" && s.DriverBaseURL != "" && err == nil {
			at = base.JoinPath(path.Base(cuda.ReleasesURL)).String()
		}
		list, err := s.fetchReleases(ctx, at, arch)
		if err == nil {
			return append(there, list...), download.Shown(at)
		}
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the list of drivers cannot be had; choosing of those that are there, or else whose digests builder knows")
	}
	there = append(there, cuda.InFolder(s.share.Downloads(), arch)...)
	if slices.ContainsFunc(there, wish.Grants) {
		return there, "this share"
	}
	return cuda.KnownReleases(arch), "builder's own table"
}

// fetchReleases asks for the list of drivers, for as long as is bearable at each start
// of a host whose network drops what it does not let pass.
func (s site) fetchReleases(ctx context.Context, at string, arch kernel.Arch) ([]cuda.Release, error) {
	wait := cmp.Or(s.ReleasesWait, 10*time.Second)
	timed, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	list, err := cuda.FetchReleases(timed, download.Options{URL: at, Pause: s.Pause}, arch)
	if err != nil && timed.Err() != nil && ctx.Err() == nil {
		err = fmt.Errorf("%s has not answered within %s", download.Shown(at), wait)
	}
	return list, err
}

// allows takes a check of the choice that failed, by the name that its failure has for
// a kind: it is returned, or goes on record where the user allows it.
func (s site) allows(c *choice, err error) error {
	var failure *stage.Error
	if !errors.As(err, &failure) || !slices.Contains(s.Allow, failure.Kind) {
		return err
	}
	c.allowed = append(c.allowed, modules.Check{Name: failure.Kind, Kind: modules.PolicyCheck, Verdict: modules.Failed, Detail: failure.Sentence()})
	return nil
}

// findDriver finds the driver's package in the user's folder. Where it is not there,
// and may be downloaded, it says where it will be, and why it is absent.
func (s site) findDriver(ctx context.Context, what setting, version string) (choice, error) {
	pkg, err := cuda.Find(ctx, s.share.CUDA(), what.target.Arch, version)
	if cuda.Absent(err) && filepath.IsAbs(s.DriverBaseURL) {
		pkg, err = cuda.FindMirrored(ctx, s.DriverBaseURL, what.target.Arch, version)
		return choice{pkg: pkg, served: cuda.DigestBeside(pkg), mirrored: true}, err
	}
	if !cuda.Absent(err) || !cuda.IsVersion(version) {
		return choice{pkg: pkg}, err
	}
	pkg, _ = cuda.Fetched(s.share.Downloads(), what.target.Arch, version)
	return choice{pkg: pkg, absent: err}, nil
}

// findDownload finds a package that is not in the user's folder among those that were
// downloaded: then it is not absent any more. Its error is that it may not be.
func (s site) findDownload(ctx context.Context, c choice) (choice, error) {
	c, err := s.vouchedFor(ctx, c)
	if err != nil {
		return choice{}, err
	}
	want := s.wantedDigest(c)
	if _, there := cuda.Fetched(s.share.Downloads(), c.pkg.Arch, c.pkg.Version); there {
		digest, err := s.digestOf(ctx, c.pkg)
		if err != nil {
			return choice{}, err
		}
		if want == "" || digest == want {
			zerolog.Ctx(ctx).Info().Str("package", c.pkg.Name()).Msg("driver package that was downloaded earlier")
			c.absent = nil
			return c, nil
		}
		zerolog.Ctx(ctx).Warn().Str("digest", digest).Str("want", want).Msg("the driver package that was downloaded earlier is of no use")
	}
	return c, nil
}

// vouchedFor has somebody say what the digest of a package must be that is not there
// and may be downloaded: the user, the table of those that are known, the server
// itself. Where nobody does, it is not downloaded unless the user allows that.
func (s site) vouchedFor(ctx context.Context, c choice) (choice, error) {
	if s.wantedDigest(c) != "" {
		return c, nil
	}
	pkg := c.pkg
	switch from := s.from(); {
	case slices.Contains(s.Allow, cuda.DigestCheck):
		return c, nil
	case s.Offline:
		c.served = cuda.KeptDigest(from.Dir, pkg.Arch, pkg.Version)
	default:
		var err error
		if c.served, err = cuda.ServedDigest(ctx, pkg.Arch, pkg.Version, from, !s.dry); err != nil {
			return choice{}, s.notServed(c, err)
		}
	}
	if c.served.SHA256 == "" {
		var err error
		if c.served, err = s.keptOf(ctx, pkg); err != nil {
			return choice{}, err
		}
	}
	if c.served.SHA256 == "" {
		// A version that there is not is no matter of trust.
		if err := s.offered(ctx, pkg); err != nil {
			return choice{}, s.notServed(c, err)
		}
		return choice{}, notDownloaded(c.absent, fmt.Sprintf("driver %s is not downloaded unseen, as no digest of it is known, nor does the server name one", pkg.Version),
			fmt.Sprintf("check the version; give its digest with --driver-sha256, or put the package there, or take what the server has, on record, with --allow %s", cuda.DigestCheck))
	}
	return c, nil
}

// from is where this run's server of packages is, and where what comes of it goes.
func (s site) from() cuda.FetchOptions {
	return cuda.FetchOptions{Dir: s.share.Downloads(), BaseURL: s.DriverBaseURL, Pause: s.Pause}
}

// offered asks the server whether it has a package, where anybody may be asked.
func (s site) offered(ctx context.Context, pkg cuda.Package) error {
	if s.Offline {
		return nil
	}
	return cuda.Offered(ctx, pkg.Arch, pkg.Version, s.from())
}

// notServed is the error of a server that was asked about a package, beside that the user
// has none.
func (s site) notServed(c choice, err error) error {
	if failure := (*stage.Error)(nil); errors.As(err, &failure) && failure.Stage == stage.Driver {
		return notDownloaded(c.absent, failure.Sentence(), failure.Hint)
	}
	return s.share.Explain(stage.Driver, err)
}

// keptOf is what another server than this run's said of a package that was downloaded
// from it, where the package is that one; the zero value elsewhere.
func (s site) keptOf(ctx context.Context, pkg cuda.Package) (cuda.Served, error) {
	kept := cuda.KeptDigest(s.share.Downloads(), pkg.Arch, pkg.Version)
	if _, there := cuda.Fetched(s.share.Downloads(), pkg.Arch, pkg.Version); !there || kept.SHA256 == "" {
		return cuda.Served{}, nil
	}
	digest, err := s.digestOf(ctx, pkg)
	if err != nil || digest != asDigest(kept.SHA256) {
		return cuda.Served{}, err
	}
	return kept, nil
}

// wantedDigest is what the digest of a downloaded package must be, as
// sha256:HEX; empty where nobody says.
func (s site) wantedDigest(c choice) string {
	return asDigest(cmp.Or(s.DriverSHA256, cuda.KnownDigest(c.pkg.Arch, c.pkg.Version), c.served.SHA256))
}

// asDigest is sha256:HEX of a SHA-256 in hexadecimal, and empty for none.
func asDigest(hex string) string {
	if hex == "" {
		return ""
	}
	return "sha256:" + strings.ToLower(hex)
}

// notDownloaded is the error for a package that the user does not have, and
// that is not downloaded either.
func notDownloaded(absent error, why, hint string) error {
	reason := why
	if e := (*stage.Error)(nil); errors.As(absent, &e) {
		reason = e.Reason + "; " + why
	}
	return stage.New(stage.Driver, reason, hint)
}

// mayFetch refuses a package that is not there and cannot be fetched.
func (s site) mayFetch(c choice) error {
	if c.absent != nil && s.Offline {
		return notDownloaded(c.absent, fmt.Sprintf("driver %s was not downloaded earlier, and --offline forbids to do so", c.pkg.Version),
			"run once without --offline, or put the package there")
	}
	return nil
}

// fetch downloads the driver's package where it is not there.
func (s site) fetch(ctx context.Context, c choice) (choice, error) {
	if err := s.mayFetch(c); err != nil || c.absent == nil {
		return c, err
	}
	want := s.wantedDigest(c)
	served := c.served
	if want != asDigest(served.SHA256) {
		served = cuda.Served{} // somebody else says more
	}
	pkg, digest, err := cuda.Fetch(ctx, c.pkg.Arch, c.pkg.Version, cuda.FetchOptions{
		Dir: s.share.Downloads(), BaseURL: s.DriverBaseURL, SHA256: strings.TrimPrefix(want, "sha256:"), Known: s.DriverSHA256 == "" && want == asDigest(cuda.KnownDigest(c.pkg.Arch, c.pkg.Version)), Served: served, Pause: s.Pause,
		Space: func(bytes int64) error {
			return s.needSpace(ctx, stage.Driver, share.Space{Bytes: uint64(bytes), Files: 3}, share.Space{})
		},
	})
	if err != nil {
		return choice{}, s.share.Explain(stage.Driver, err)
	}
	zerolog.Ctx(ctx).Info().Str("package", pkg.Name()).Str("digest", digest).Msg("driver package downloaded")
	c.pkg, c.absent, c.digest = pkg, nil, digest
	return c, s.noteDigest(c.pkg, c.digest)
}

// vouch is what there is to say of the package's digest, which is nothing of
// one that the user has put down without a word.
func (s site) vouch(ctx context.Context, c choice) ([]modules.Check, error) {
	found := modules.Check{Name: cuda.DigestCheck, Kind: modules.PolicyCheck, Verdict: modules.Passed}
	asked, known := asDigest(s.DriverSHA256), asDigest(cuda.KnownDigest(c.pkg.Arch, c.pkg.Version))
	comparable := c.pkg.Kind == cuda.RunFile && c.pkg.Variant == "" // with what is known of a version
	switch {
	case asked != "" && c.digest != asked:
		hint := "put the right package in its place, or correct --driver-sha256"
		if c.pkg.Kind == cuda.Folder {
			hint += "; an unpacked folder's digest is the one that the manifest has"
		}
		return nil, stage.OfKind(cuda.DigestCheck, stage.New(stage.Driver, fmt.Sprintf("the driver package %s is another than was asked for: its digest is %s, and --driver-sha256 says %s",
			c.pkg.Name(), c.digest, asked), hint))
	case asked != "":
		found.Detail = "the package's digest is the one that was asked for"
	case known != "" && c.digest == known:
		found.Detail = "the package's digest is the one that is known of it"
	case c.mirrored && comparable && known != "":
		return nil, s.another(c, known)
	case c.served.SHA256 != "" && c.digest == asDigest(c.served.SHA256):
		found.Verdict, found.Detail = modules.NotCheckable, "the package's digest is the one that its server names, "+c.served.From+cuda.SumsSuffix+", and nobody else is known to have pinned it"
	case c.mirrored && c.served.SHA256 != "":
		return nil, s.another(c, asDigest(c.served.SHA256))
	case c.mirrored:
		found.Verdict, found.Detail = modules.NotCheckable, "the package is from the folder "+s.DriverBaseURL+", its digest is "+c.digest+", and nothing says that it should be"
	case c.pkg.Fetched:
		found.Verdict, found.Detail = modules.Failed, "the package was downloaded, its digest is "+c.digest+", and nothing says that it should be"
	case known != "" && comparable:
		zerolog.Ctx(ctx).Warn().Str("digest", c.digest).Str("known", known).Msg("the driver package is not the one that is known by its name")
	}
	switch {
	case found.Verdict != modules.NotCheckable && found.Detail != "":
	case s.Strict && !slices.Contains(s.Allow, cuda.DigestCheck):
		return nil, stage.OfKind(cuda.DigestCheck, stage.New(stage.Driver, fmt.Sprintf("nobody vouches for the driver package %s, whose installer runs here and whose modules run in the kernel, and --strict wants that: its digest is %s",
			c.pkg.Name(), c.digest), fmt.Sprintf("give that with --driver-sha256 once you know that it is NVIDIA's, or have it on record that nobody does with --allow %s", cuda.DigestCheck)))
	case found.Detail == "":
		return nil, nil
	}
	return []modules.Check{found}, nil
}

// another is the error for a package in a folder that is not what it should be: of a
// server's it is a download's.
func (s site) another(c choice, want string) error {
	err := &download.DigestError{URL: c.pkg.Path, Got: strings.TrimPrefix(c.digest, "sha256:"), Want: strings.TrimPrefix(want, "sha256:")}
	return stage.OfKind(cuda.DigestCheck, stage.Wrap(stage.Driver, err, fmt.Sprintf("what %s has as driver %s is not what it should be", s.DriverBaseURL, c.pkg.Version),
		"put the right package in its place, or give the digest that you trust with --driver-sha256"))
}

// fetching has the driver's package be there.
func (p project) fetching() step[nothing, cuda.Package] {
	return step[nothing, cuda.Package]{
		stage: stage.Driver,
		plan:  func(context.Context) ([]string, error) { return nil, p.mayFetch(p.choice) },
		do: func(ctx context.Context, _ nothing) (cuda.Package, error) {
			c, err := p.fetch(ctx, p.choice)
			return c.pkg, err
		},
	}
}

// unpacked is the driver, ready to be built.
type unpacked struct {
	pkg    cuda.Package
	driver cuda.Driver
	// moduleType is the form of its modules that is built.
	moduleType string
	// foreseen is what is known to stand in the way of compiling that, and allowed.
	foreseen []modules.Check
	// toLayOut are the libraries and programs to lay out of it.
	toLayOut userspace.Choice
}

// unpacking unpacks as much of the package as a build needs.
func (p project) unpacking() step[cuda.Package, unpacked] {
	return step[cuda.Package, unpacked]{
		stage: stage.Driver,
		plan: func(context.Context) ([]string, error) {
			need, does := spaceFrom(stage.Driver, share.Space{}, p.libraries.space(userspace.Choice{}), p.Debug)
			return nil, p.share.Need(stage.Driver, need, does)
		},
		do: p.unpack,
	}
}

func (p project) unpack(ctx context.Context, pkg cuda.Package) (unpacked, error) {
	if err := modules.Ready(p.share, p.scratch, p.target.Release.Full, pkg.Version); err != nil {
		return unpacked{}, err
	}
	if err := p.needSpace(ctx, stage.Driver, share.Space{}, share.Space{}); err != nil {
		return unpacked{}, err
	}
	d, err := p.unpackTo(ctx, stage.Driver, pkg, filepath.Join(p.scratch, "driver"))
	if err != nil {
		return unpacked{}, err
	}
	u := unpacked{pkg: pkg, driver: d, foreseen: p.foreseen}
	if u.moduleType, err = p.preference.Resolve(d); err != nil {
		return unpacked{}, err
	}
	if u.moduleType != p.preference.Type {
		if u.foreseen, err = p.foresee(ctx, p.setting, p.choice, u.moduleType); err != nil {
			return unpacked{}, err
		}
	}
	if u.toLayOut, err = p.chooseLibraries(ctx, d.Contents()); err != nil {
		return unpacked{}, err
	}
	why := p.preference.Why
	if u.moduleType != p.preference.Type {
		why = "the package has no others"
	}
	zerolog.Ctx(ctx).Info().Str("type", u.moduleType).Str("why", why).Msg("form of the modules")
	return u, nil
}

// unpackTo unpacks the package for a stage, if it is still the one that was chosen.
func (p project) unpackTo(ctx context.Context, name stage.Name, pkg cuda.Package, dir string) (cuda.Driver, error) {
	d, err := cuda.Unpack(ctx, pkg, dir)
	if err != nil {
		return cuda.Driver{}, p.share.Explain(name, err)
	}
	if d.Digest != p.digest {
		// What was noted of it is not true any more.
		err := beneath.Remove(p.share.Digest(pkg.Path))
		return cuda.Driver{}, errors.Join(stage.New(name, fmt.Sprintf("the driver package %s was changed, and has the digest %s now", pkg.Name(), d.Digest), "run again"), err)
	}
	return d, p.patch(name, d)
}

// patch applies the user's patches to an unpacked driver, whose digest is the one of
// the package before them.
func (p project) patch(name stage.Name, d cuda.Driver) error {
	err := p.patches.Apply(d.Dir, patch.Driver)
	var failure *stage.Error
	if errors.As(err, &failure) {
		failure.Stage = name // of the driver's second unpacking it is the build's
	}
	return p.share.Explain(name, err)
}
