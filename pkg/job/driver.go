package job

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// chooseDriver picks the driver package and, with it, knows all that a rerun
// compares. One whose digest is known beforehand need not be there for that.
func (b *build) chooseDriver(ctx context.Context) error {
	if err := b.findDriver(ctx); err != nil {
		return err
	}
	var err error
	if b.preference, err = cuda.Prefer(b.ModuleType, b.pkg, cuda.GPUs(b.target.PCI)); err != nil {
		return err
	}
	if b.absent != nil {
		b.pkgDigest = b.wantedDigest()
		if b.pkgDigest == "" && !b.dry {
			if err := b.needDriver(ctx); err != nil {
				return err
			}
		}
	}
	if b.absent == nil {
		if b.pkgDigest, err = b.digestOf(ctx, b.pkg); err != nil {
			return err
		}
	}
	return b.vouch(ctx)
}

// whence says where the driver package is, or is to come from.
func (b *build) whence() string {
	if b.absent == nil {
		return b.pkg.Path
	}
	from := download.Shown(cmp.Or(b.DriverBaseURL, cuda.Server)) + ", downloaded to " + b.pkg.Path
	if b.pkgDigest != "" {
		from += " if its digest is " + b.pkgDigest
	}
	return from
}

// findDriver finds the driver's package, in the user's folder or among those
// that were downloaded. Where it is in neither, and may be downloaded, it says
// where it will be, and b.absent that it is not there yet.
func (b *build) findDriver(ctx context.Context) error {
	var err error
	b.pkg, err = cuda.Find(ctx, b.share.CUDA(), b.target.Arch, b.DriverVersion)
	if !cuda.Absent(err) || !cuda.IsVersion(b.DriverVersion) {
		return err
	}
	want := b.wantedDigest()
	if want == "" && !slices.Contains(b.Allow, cuda.DigestCheck) {
		return notDownloaded(err, fmt.Sprintf("driver %s is not downloaded unseen, as no digest of it is known", b.DriverVersion),
			fmt.Sprintf("give its digest with --driver-sha256, or put the package there, or take what the server has, on record, with --allow %s", cuda.DigestCheck))
	}
	var there bool
	if b.pkg, there = cuda.Fetched(b.share.Downloads(), b.target.Arch, b.DriverVersion); there {
		digest, err := b.digestOf(ctx, b.pkg)
		if err != nil {
			return err
		}
		if want == "" || digest == want {
			zerolog.Ctx(ctx).Info().Str("package", b.pkg.Name()).Msg("driver package that was downloaded earlier")
			return nil
		}
		zerolog.Ctx(ctx).Warn().Str("digest", digest).Str("want", want).Msg("the driver package that was downloaded earlier is of no use")
	}
	b.absent = err
	return nil
}

// wantedDigest is what the digest of a downloaded package must be, as
// sha256:HEX; empty where nobody says.
func (b *build) wantedDigest() string {
	return asDigest(cmp.Or(b.DriverSHA256, cuda.KnownDigest(b.target.Arch, b.DriverVersion)))
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

// mayNeedDriver refuses a package that is not there and cannot be fetched.
func (b *build) mayNeedDriver() error {
	if b.absent != nil && b.Offline {
		return notDownloaded(b.absent, fmt.Sprintf("driver %s was not downloaded earlier, and --offline forbids to do so", b.DriverVersion),
			"run once without --offline, or put the package there")
	}
	return nil
}

// needDriver fetches the driver's package into the share where it is not there.
func (b *build) needDriver(ctx context.Context) error {
	if err := b.mayNeedDriver(); err != nil || b.absent == nil {
		return err
	}
	log := zerolog.Ctx(ctx)
	var digest string
	var err error
	b.pkg, digest, err = cuda.Fetch(ctx, b.target.Arch, b.DriverVersion, cuda.FetchOptions{
		Dir: b.share.Downloads(), BaseURL: b.DriverBaseURL, SHA256: strings.TrimPrefix(b.wantedDigest(), "sha256:"), Pause: b.Pause,
		Room: func(bytes int64) error {
			return b.room(ctx, stage.Driver, share.Space{Bytes: uint64(bytes), Files: 3})
		},
	})
	if err != nil {
		return b.share.Explain(stage.Driver, err)
	}
	b.absent = nil
	log.Info().Str("package", b.pkg.Name()).Str("digest", digest).Msg("driver package downloaded")
	return b.noteDigest(b.pkg, digest)
}

// vouch notes what there is to say of the package's digest, which is nothing of
// one that the user has put down without a word, and with it all that a rerun
// compares.
func (b *build) vouch(ctx context.Context) error {
	c := modules.Check{Name: cuda.DigestCheck, Kind: modules.PolicyCheck, Verdict: modules.Passed}
	asked, known := asDigest(b.DriverSHA256), asDigest(cuda.KnownDigest(b.pkg.Arch, b.pkg.Version))
	switch {
	case asked != "" && b.pkgDigest != asked:
		hint := "put the right package in its place, or correct --driver-sha256"
		if b.pkg.Kind == cuda.Folder {
			hint += "; an unpacked folder's digest is the one that the manifest has"
		}
		return stage.New(stage.Driver, fmt.Sprintf("the driver package %s is another than was asked for: its digest is %s, and --driver-sha256 says %s",
			b.pkg.Name(), b.pkgDigest, asked), hint)
	case asked != "":
		c.Detail = "the package's digest is the one that was asked for"
	case known != "" && b.pkgDigest == known:
		c.Detail = "the package's digest is the one that is known of it"
	case b.pkg.Fetched:
		c.Verdict, c.Detail = modules.Failed, "the package was downloaded, its digest is "+b.pkgDigest+", and nothing says that it should be"
	case known != "" && b.pkg.Kind == cuda.RunFile && b.pkg.Variant == "":
		zerolog.Ctx(ctx).Warn().Str("digest", b.pkgDigest).Str("known", known).Msg("the driver package is not the one that is known by its name")
	}
	if c.Detail != "" {
		b.vouched = []modules.Check{c}
	}
	var err error
	b.inputs, err = b.digestInputs()
	return err
}

func (b *build) unpackDriver(ctx context.Context) error {
	// What would only fail at the end is tried before the work.
	if err := modules.Ready(b.share, b.scratch, b.target.Release.Full, b.pkg.Version); err != nil {
		return err
	}
	if err := b.room(ctx, stage.Driver, share.Space{}); err != nil {
		return err
	}
	var err error
	if b.driver, err = cuda.Unpack(ctx, b.pkg, filepath.Join(b.scratch, "driver")); err != nil {
		return b.share.Explain(stage.Driver, err)
	}
	if b.driver.Digest != b.pkgDigest {
		// What was noted of it is not true any more.
		err := os.Remove(b.digestFile(b.pkg))
		return errors.Join(stage.New(stage.Driver, fmt.Sprintf("the driver package %s was changed, and has the digest %s now", b.pkg.Name(), b.driver.Digest), "run again"), err)
	}
	if b.moduleType, err = b.preference.Resolve(b.driver); err != nil {
		return err
	}
	if err := b.chooseUserSpace(ctx, b.driver.Contents()); err != nil {
		return err
	}
	why := b.preference.Why
	if b.moduleType != b.preference.Type {
		why = "the package has no others"
	}
	zerolog.Ctx(ctx).Info().Str("type", b.moduleType).Str("why", why).Msg("form of the modules")
	return nil
}
