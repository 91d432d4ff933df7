package job

import (
	"context"
	"fmt"
	"runtime"
	"slices"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/stage"
)

// setting is what modules are built for, and what with.
type setting struct {
	target   kernel.Target
	compiler prepare.Compiler
	// compilerVersion is the first line of what the compiler says of itself.
	compilerVersion string
	// signer signs the modules; nil where they are not to be signed.
	signer *signature.Signer
	// wished is the driver that was chosen where a line of them or the like is asked for; nil
	// where that is still to be done, or nothing of the kind is asked for.
	wished *choice
}

// detect finds out what to build for, and whether this image can.
func (s site) detect(ctx context.Context) (setting, error) {
	var what setting
	var err error
	if what.target, err = s.Host.detect(ctx, s.exportsCache(), cuda.MayUse); err != nil {
		return setting{}, err
	}
	if err := prepare.CheckArch(what.target, runtime.GOARCH, s.lookPath()); err != nil {
		return setting{}, err
	}
	if s.Signing != (signature.Options{}) {
		if what.signer, err = signature.Load(ctx, s.Signing, what.target); err != nil {
			return setting{}, err
		}
	}
	if err := s.acceptable(what); err != nil {
		return setting{}, err
	}
	if what.compiler, err = prepare.ChooseCompiler(what.target, kernel.ArchOf(runtime.GOARCH), s.lookPath()); err != nil {
		return setting{}, err
	}
	what.compilerVersion, err = prepare.CompilerVersion(ctx, s.Runner, what.compiler.Command)
	return what, err
}

// acceptable refuses to build for a kernel that would take none of the modules, as
// it is known to before any of them is there.
func (s site) acceptable(what setting) error {
	var key string
	if what.signer != nil {
		key = what.signer.KeyID()
	}
	why := modules.Unacceptable(what.target, key)
	if why == "" || slices.Contains(s.Allow, modules.SignatureCheck) {
		return nil
	}
	hint := "give a key that the kernel trusts with --signing-key and --signing-cert; or switch Secure Boot, lockdown or module.sig_enforce off"
	if what.target.Distribution.ID == "flatcar" {
		hint += " (Flatcar throws its own key away after it has built an image, so that under Secure Boot only the extensions load that come with it)"
	}
	return &stage.Error{Stage: stage.Detect, Kind: modules.SignatureCheck, Reason: why,
		Hint: hint + fmt.Sprintf("; or build all the same, to sign the modules elsewhere, with --allow %s", modules.SignatureCheck)}
}

// exportsCache is the folder that keeps what the host's modules were found to
// export; none of a dry run.
func (s site) exportsCache() string {
	if s.dry {
		return ""
	}
	return s.share.Exports()
}

func (w setting) says() Step {
	t := w.target
	return Step{stage.Detect, fmt.Sprintf("kernel %s (%s); config from %s, %d symbols from %s", t.Release, t.Arch, t.Config.From, len(t.Exports.Symbols), t.Exports.From)}
}

// lookPath is what finds programs.
func (o Options) lookPath() func(string) (string, error) {
	if o.LookPath != nil {
		return o.LookPath
	}
	return command.LookPath
}
