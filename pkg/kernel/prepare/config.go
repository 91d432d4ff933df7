package prepare

import (
	"bytes"
	"fmt"
	"regexp"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/stage"
)

// hostConfig is the host's config, with the release suffix that makes the
// tree's release the host's. A config need not hold that suffix: whoever built
// the kernel may have given it on make's command line or in a file.
func hostConfig(t kernel.Target, src source.Tree) ([]byte, error) {
	base, err := baseRelease(src)
	if err != nil {
		return nil, failed(err, "could not read the source's release")
	}
	suffix, ok := strings.CutPrefix(t.Release.Full, base)
	if !ok {
		return nil, stage.New(stage.Prepare,
			fmt.Sprintf("the source is of %s, so its modules cannot be of the host's %s", base, t.Release.Full),
			"name the tag that the kernel was built from with --source-ref")
	}
	return withLocalversion(t.Config.Text, suffix), nil
}

// baseRelease is the part of the release that the source decides: its
// Makefile's version, then its localversion* files, which
// scripts/setlocalversion appends before CONFIG_LOCALVERSION.
func baseRelease(src source.Tree) (string, error) {
	names, err := beneath.Glob(src.Dir, "localversion*")
	if err != nil {
		return "", err
	}
	base := src.Version
	for _, name := range names {
		if strings.HasSuffix(name, "~") {
			continue
		}
		b, err := beneath.ReadFile(name)
		if err != nil {
			return "", err
		}
		base += strings.Join(strings.Fields(string(b)), "")
	}
	return base, nil
}

var localversion = regexp.MustCompile(`(?m)^(# )?CONFIG_LOCALVERSION(_AUTO)?[ =].*\n?`)

// withLocalversion sets CONFIG_LOCALVERSION to the suffix and keeps git out
// of the release.
func withLocalversion(config []byte, suffix string) []byte {
	config = localversion.ReplaceAll(config, nil)
	if len(config) > 0 && !bytes.HasSuffix(config, []byte("\n")) {
		config = append(config, '\n')
	}
	return fmt.Appendf(config, "CONFIG_LOCALVERSION=%q\n# CONFIG_LOCALVERSION_AUTO is not set\n", suffix)
}
