package prepare

import (
	"bufio"
	"context"
	"fmt"
	"io/fs"
	"regexp"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/drift"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/stage"
)

// maxChanges is how many changed options an error names.
const maxChanges = 8

// judge stops for options that kbuild changed, unless the user lets them pass:
// then they are a warning, and the caller's to record.
func (o Options) judge(ctx context.Context, found findings, t kernel.Target, src source.Tree) error {
	changes := found.Drift
	if found.WithoutRust {
		zerolog.Ctx(ctx).Info().Msg("the kernel has Rust (CONFIG_RUST), and its modules in C are built without")
	}
	if len(changes) == 0 {
		return nil
	}
	unknown := unknownTo(src.Dir, changes)
	var said []string
	for _, c := range changes[:min(len(changes), maxChanges)] {
		said = append(said, fmt.Sprintf("%s (%s)", c, found.reason(c, t, o, unknown[c.Name])))
	}
	if more := len(changes) - len(said); more > 0 {
		said = append(said, fmt.Sprintf("and %d more", more))
	}
	if o.AllowDrift {
		zerolog.Ctx(ctx).Warn().Int("options", len(changes)).Strs("changed", said).
			Msg("kbuild changed options of the host's config; allowed")
		return nil
	}
	options := "an option"
	if len(changes) > 1 {
		options = fmt.Sprintf("%d options", len(changes))
	}
	hint := "remove the cause, or accept the change, on record, with --allow " + DriftCheck
	if len(unknown) > 0 && src.Rung != source.RungHostTree && src.Rung != source.RungHostSource {
		hint = "apply the distribution's patches to the source with --source-patches, name its own source with --source, " +
			"or accept the change, on record, with --allow " + DriftCheck
	}
	return stage.New(stage.Prepare,
		fmt.Sprintf("kbuild changed %s of the host's config, so modules may not fit its kernel: %s", options, strings.Join(said, "; ")), hint)
}

// reason is the likeliest reason for a change.
func (f findings) reason(c drift.Change, t kernel.Target, o Options, unknown bool) string {
	switch {
	case unknown:
		return "the source does not know it and is of another version, or lacks a patch of the distribution's"
	case strings.HasPrefix(c.Name, "DEBUG_INFO_BTF"):
		return "pahole is missing, or too old or new for this kernel"
	case f.WithoutRust && c.Is == "n":
		return "perhaps it needs Rust, which the kernel has (CONFIG_RUST=y) and this image has not"
	case t.Compiler.Major > 0 && !o.compilesAs(t.Compiler):
		return fmt.Sprintf("%s in the place of %s %s", o.Compiler, t.Compiler.Name, t.Compiler.Version)
	default:
		return "other build tools than the kernel's, or a source that is not quite its own"
	}
}

var kconfigEntry = regexp.MustCompile(`^\s*(?:menu)?config\s+(\w+)\s*$`)

// unknownTo says which of the options no Kconfig file of the source defines.
// Where the source cannot be read none is said to be unknown.
func unknownTo(dir string, changes []drift.Change) map[string]bool {
	unknown := make(map[string]bool)
	for _, c := range changes {
		unknown[c.Name] = true
	}
	files := 0
	err := beneath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasPrefix(d.Name(), "Kconfig") {
			return err
		}
		files++
		return forgetDefined(path, unknown)
	})
	if err != nil || files == 0 {
		return nil
	}
	return unknown
}

// forgetDefined removes from unknown what one Kconfig file defines.
func forgetDefined(path string, unknown map[string]bool) error {
	f, err := beneath.Open(path)
	if err != nil {
		return err
	}
	defer f.Close()
	lines := bufio.NewScanner(f)
	for lines.Scan() {
		if m := kconfigEntry.FindStringSubmatch(lines.Text()); m != nil {
			delete(unknown, m[1])
		}
	}
	return lines.Err()
}
