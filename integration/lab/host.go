package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

//go:embed host.go
var hostSource string

// host makes the root of a CoreOS host of what a host's kernel of Debian's said
// when it ran. What was edited is in its README.
func (l *Lab) host(ctx context.Context, from packages) (Host, error) {
	debian, err := l.debian(ctx, "bookworm", from)
	if err != nil {
		return Host{}, err
	}
	version, _, _ := strings.Cut(from.Source, "-")
	release := version + "-coreos-r1"
	recipe := filepath.Base(debian.Dir) + from.recipe() + hostSource
	dir, err := l.part(ctx, "host", recipe, func(dir string) error {
		if err := os.CopyFS(filepath.Join(dir, "proc"), os.DirFS(filepath.Join(debian.Dir, "proc"))); err != nil {
			return err
		}
		return editHost(dir, debian, release)
	})
	return Host{Dir: dir, Release: release}, err
}

// editHost turns the record of a booted Debian kernel into a CoreOS host's.
func editHost(dir string, debian Host, release string) error {
	version, err := os.ReadFile(filepath.Join(dir, "proc/version"))
	if err != nil {
		return err
	}
	config, err := os.ReadFile(filepath.Join(debian.Dir, "boot", "config-"+debian.Release))
	if err != nil {
		return err
	}
	files := map[string][]byte{
		"proc/version":              bytes.Replace(version, []byte(debian.Release), []byte(release), 1),
		"proc/sys/kernel/osrelease": []byte(release + "\n"),
		"proc/config.gz":            compress(editConfig(config, release)),
		"etc/os-release":            []byte(osRelease),
		"README":                    fmt.Appendf(nil, hostReadme, debian.Release, release),
	}
	for name, content := range files {
		if err := writeFile(filepath.Join(dir, name), content); err != nil {
			return err
		}
	}
	return nil
}

// configEdits are the options in which CoreOS's kernels differ from Debian's as
// far as a module build sees it, and those that follow from them. An empty
// value is "not set".
var configEdits = map[string]string{
	"CONFIG_MODVERSIONS":      "",
	"CONFIG_ASM_MODVERSIONS":  "",
	"CONFIG_MODULE_SIG_FORCE": "",
	"CONFIG_MODULE_SIG_ALL":   "y", // Debian signs in a step of its own
	"CONFIG_MODULE_SIG_KEY":   `"certs/signing_key.pem"`,
	"CONFIG_IKCONFIG":         "y",
	"CONFIG_IKCONFIG_PROC":    "y",
}

func editConfig(config []byte, release string) []byte {
	edits := maps.Clone(configEdits)
	_, suffix, _ := strings.Cut(release, "-")
	edits["CONFIG_LOCALVERSION"] = `"-` + suffix + `"`
	var out bytes.Buffer
	for line := range strings.Lines(string(config)) {
		name, _, _ := strings.Cut(strings.TrimPrefix(strings.TrimSuffix(line, " is not set\n"), "# "), "=")
		if _, edited := edits[name]; !edited {
			out.WriteString(line)
		}
	}
	for _, name := range slices.Sorted(maps.Keys(edits)) {
		if edits[name] == "" {
			fmt.Fprintf(&out, "# %s is not set\n", name)
		} else {
			fmt.Fprintf(&out, "%s=%s\n", name, edits[name])
		}
	}
	return out.Bytes()
}

func compress(content []byte) []byte {
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	w.Write(content) // a bytes.Buffer takes everything
	w.Close()
	return out.Bytes()
}

const osRelease = `NAME="Container Linux by CoreOS"
ID=coreos
VERSION=2512.3.0
VERSION_ID=2512.3.0
BUILD_ID=2020-05-22-2326
PRETTY_NAME="Container Linux by CoreOS 2512.3.0 (Rhyolite)"
ANSI_COLOR="38;5;75"
HOME_URL="https://coreos.com/"
BUG_REPORT_URL="https://issues.coreos.com"
COREOS_BOARD="amd64-usr"
`

const hostReadme = `The root of a host, as far as detecting its kernel reads it.

Recorded: the files below proc, from Debian's kernel %[1]s, booted in
QEMU with the modules of a host that has a display; kallsyms with addresses.

Edited, because CoreOS never shipped a kernel of this line:
  proc/version, proc/sys/kernel/osrelease  say %[2]s
  proc/config.gz   Debian's config of that kernel with LOCALVERSION set,
                   MODVERSIONS and MODULE_SIG_FORCE off, IKCONFIG on, and
                   modules signed by the key of the build
  etc/os-release   CoreOS's last one

The modules that the job builds for this root have been built from real
sources with a real config and checked against real symbols, and no kernel with
this config exists that could load them. (The part coreos has one, but a small
one of its own config.)
`
