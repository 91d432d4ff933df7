package job

import (
	"cmp"
	"context"
	"path/filepath"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// signManifest signs manifests; nil where nobody asked for that.
func (s site) signManifest() publish.Sign {
	if s.notary == nil {
		return nil
	}
	return s.notary.SignDetached
}

// ownTrust is the trust in the key that is to sign, by which it is seen whether a
// manifest is signed with it already; nil where none is to be.
func (s site) ownTrust() publish.Trust {
	if s.notary == nil {
		return nil
	}
	return signature.TrustIn(s.notary.Certificate()).Verify
}

// saySigned tells of a manifest that was signed.
func (s site) saySigned(ctx context.Context, path string) {
	if s.notary != nil {
		zerolog.Ctx(ctx).Info().Str("manifest", path).Str("key", s.notary.KeyID()).Msg("manifest signed")
	}
}

// warnOfWriters says, where manifests are to be signed, whose the share is that they
// vouch for: what is built is made of what lies there.
func (s site) warnOfWriters(ctx context.Context) {
	if s.notary == nil {
		return
	}
	if who := share.WritableByOthers(s.share.Dir()); who != "" {
		zerolog.Ctx(ctx).Warn().Str("why", who).
			Msg("what is signed is made of the driver package, the kernel source and the caches in this share: whoever can write there decides what this key vouches for")
	}
}

// writers says who beside root could have put something else in the place of what an
// earlier run has published; "" where nobody could.
func (p project) writers() string {
	link := p.share.Result(p.target.Release.Full, p.pkg.Version)
	dir, err := publish.Led(link)
	if err != nil {
		return err.Error()
	}
	return cmp.Or(share.WritableByOthers(filepath.Dir(link)), share.AnyWritableByOthers(dir))
}

// signingEarlier signs modules that serve, which nobody compiles again for it.
func (p project) signingEarlier(found modules.Found) step[nothing, nothing] {
	return step[nothing, nothing]{
		stage: stage.Publish,
		plan: func(context.Context) ([]string, error) {
			return []string{"the signature of " + found.Path()}, nil
		},
		do: func(ctx context.Context, _ nothing) (nothing, error) {
			if err := p.lock.Check(); err != nil {
				return nothing{}, err
			}
			if err := modules.Republish(ctx, p.share, p.scratch, found, p.signManifest()); err != nil {
				return nothing{}, err
			}
			p.saySigned(ctx, found.Path())
			return nothing{}, nil
		},
	}
}
