package prepare

import (
	"bytes"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

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
	names, err := filepath.Glob(filepath.Join(src.Dir, "localversion*"))
	if err != nil {
		return "", err
	}
	base := src.Version
	for _, name := range names {
		if strings.HasSuffix(name, "~") {
			continue
		}
		b, err := os.ReadFile(name)
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

// Change is an option whose value kbuild changed.
type Change struct {
	// Name is without CONFIG_.
	Name string `json:"name"`
	// Was and Is are its values in the host's config and in the tree's; "n"
	// where it is off or does not exist.
	Was string `json:"was"`
	Is  string `json:"is"`
}

// String is the change in a line, "DEBUG_INFO_BTF: y, now n".
func (c Change) String() string { return c.Name + ": " + c.Was + ", now " + c.Is }

// toolVersion are options that only say which tools configured the tree, and
// the two that withLocalversion sets.
var toolVersion = regexp.MustCompile(`^(CC_VERSION_TEXT|(GCC|CLANG|AS|LD|LLD|PAHOLE|RUSTC|RUSTC_LLVM|BINDGEN)_VERSION(_TEXT)?|LOCALVERSION(_AUTO)?)$`)

// compare lists the options that differ, sorted by name.
func compare(before, after []byte) []Change {
	was, is := options(before), options(after)
	names := maps.Clone(was)
	maps.Copy(names, is)
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c := Change{Name: name, Was: value(was, name), Is: value(is, name)}
		if c.Was != c.Is && !toolVersion.MatchString(name) {
			changes = append(changes, c)
		}
	}
	return changes
}

// value treats an option that is off, or an empty string, as one that does not
// exist: distributions leave their builders' paths out of the configs that
// they publish, and Kconfig writes them back empty.
func value(options map[string]string, name string) string {
	if v := options[name]; v != "" && v != `""` {
		return v
	}
	return "n"
}

// options are the options of a config that are set, without CONFIG_. Of two
// lines for one option the last counts, as it does for Kconfig.
func options(config []byte) map[string]string {
	set := make(map[string]string)
	for line := range bytes.Lines(config) {
		text := strings.TrimSpace(string(line))
		if name, ok := strings.CutPrefix(text, "# CONFIG_"); ok {
			delete(set, strings.TrimSuffix(name, " is not set"))
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		if name, found := strings.CutPrefix(name, "CONFIG_"); ok && found {
			set[name] = value
		}
	}
	return set
}
