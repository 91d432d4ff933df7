package job

import (
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/modules"
)

// Check is one that a build makes.
type Check struct {
	Name string // as Options.Allow takes it
	// Doc is a clause that says what passes.
	Doc  string
	Kind modules.Kind
}

// Checks are all that a build makes, in the order in which it does: those of the driver and
// of the kernel's source and config, each of which ends the build where it fails, and
// then those of modules, [modules.Rules], which are all made.
func Checks() []Check {
	list := []Check{
		{cuda.DigestCheck, "somebody vouches for the digest of a downloaded driver", modules.PolicyCheck},
		{cuda.UnservedCheck, "the driver runs one of the GPUs of the host that it is built for", modules.PolicyCheck},
		{breaks.Check, "the driver is not known to fail to compile against the kernel", modules.PolicyCheck},
		{SourceCheck, "if the distribution patches its kernels, the source has its patches", modules.PolicyCheck},
		{prepare.DriftCheck, "kbuild leaves the host's config as it is", modules.PolicyCheck},
	}
	for _, r := range modules.Rules() {
		list = append(list, Check{r.Name, r.Doc, r.Kind})
	}
	return list
}
