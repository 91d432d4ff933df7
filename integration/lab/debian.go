package lab

import (
	"bufio"
	"context"
	_ "embed"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/integration/guest/plan"
)

var (
	//go:embed scripts/debian.sh
	debianScript string
	//go:embed debian.go
	debianSource string
)

// Host is the root of a host that modules are built for.
type Host struct {
	Dir string
	// Release is its kernel's, "6.1.176-coreos-r1".
	Release string
	// Arch is its machine's, by Go's name; empty is amd64.
	Arch string
}

// Debian makes the root of a host that runs the distribution's own kernel, of
// the suite bookworm (Linux 6.1) or trixie (6.12), with its image, modules and
// headers, and with what its proc said when it was booted once.
func (l *Lab) Debian(ctx context.Context, suite string) (Host, error) {
	if err := l.ToolsImage(ctx); err != nil {
		return Host{}, err
	}
	from, err := l.packages(ctx)
	if err != nil {
		return Host{}, err
	}
	return l.debian(ctx, suite, from)
}

func (l *Lab) debian(ctx context.Context, suite string, from packages) (Host, error) {
	kernel := "" // the newest
	if suite == "bookworm" {
		kernel = from.Kernel // the one whose source there is
	}
	if err := l.debianImage(ctx, suite); err != nil {
		return Host{}, err
	}
	dir, err := l.part(ctx, "debian-"+suite, kernel+debianScript+debianSource, func(dir string) error {
		unpack := container{
			image:  "debian:" + suite + "-slim",
			script: "kernel=" + kernel + "\n" + debianScript,
			out:    dir,
		}
		if err := unpack.run(ctx); err != nil {
			return err
		}
		host, err := readHost(dir)
		if err != nil {
			return err
		}
		return l.record(ctx, host, "drm_kms_helper", "video", "ipmi_devintf")
	})
	if err != nil {
		return Host{}, err
	}
	return readHost(dir)
}

// readHost reads which kernel a root was made for.
func readHost(dir string) (Host, error) {
	release, err := os.ReadFile(filepath.Join(dir, "release"))
	return Host{Dir: dir, Release: strings.TrimSpace(string(release))}, err
}

// recorded are the files of proc that a boot leaves in a root.
var recorded = []string{
	"/proc/version", "/proc/cmdline", "/proc/modules", "/proc/kallsyms", "/proc/sys/kernel/osrelease",
}

// record boots the host's kernel with modules of its own, as a host that has a display
// loads them, and keeps what it says.
func (l *Lab) record(ctx context.Context, host Host, names ...string) error {
	files, err := host.InTree(names...)
	if err != nil {
		return err
	}
	machine := Machine{Kernel: host.Image(), Arch: host.Arch, Append: "quiet"}
	load := machine.Install(files)
	outcome, err := l.Boot(ctx, machine, plan.Plan{{Load: load, Read: recorded}})
	if err != nil {
		return err
	}
	said := outcome.Results[0]
	if len(said.Errors) > 0 || len(said.Load) > 0 && said.Load[len(said.Load)-1].Errno != 0 {
		return fmt.Errorf("kernel %s: %+v", host.Release, said)
	}
	for name, content := range said.Read {
		if err := writeFile(filepath.Join(host.Dir, name), content); err != nil {
			return err
		}
	}
	return nil
}

// writeFile makes the file's folder first.
func writeFile(name string, content []byte) error {
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		return err
	}
	return os.WriteFile(name, content, 0o644)
}

// Image is the file of the host's kernel.
func (h Host) Image() string { return filepath.Join(h.Dir, "boot", "vmlinuz-"+h.Release) }

// InTree returns the files of modules that the host's kernel has of its own,
// and of those that they need, in the order in which they load. The names are
// as in a manifest or in lsmod; a module that is built in has no file.
func (h Host) InTree(names ...string) ([]string, error) {
	dir := filepath.Join(h.Dir, "lib/modules", h.Release)
	needs, err := readModulesDep(filepath.Join(dir, "modules.dep"))
	if err != nil {
		return nil, err
	}
	builtin, err := os.ReadFile(filepath.Join(dir, "modules.builtin"))
	if err != nil {
		return nil, err
	}
	var files []string
	for _, name := range names {
		if slices.ContainsFunc(strings.Fields(string(builtin)), func(file string) bool { return moduleName(file) == name }) {
			continue
		}
		chain, ok := needs[name]
		if !ok {
			return nil, fmt.Errorf("kernel %s has no module %s", h.Release, name)
		}
		for _, file := range chain {
			if file = filepath.Join(dir, file); !slices.Contains(files, file) {
				files = append(files, file)
			}
		}
	}
	return files, nil
}

// readModulesDep reads depmod's text: "FILE: NEEDED…", the nearest first. The
// result is by the module's name, and the file itself is the last.
func readModulesDep(name string) (map[string][]string, error) {
	file, err := os.Open(name)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	needs := map[string][]string{}
	for lines := bufio.NewScanner(file); ; {
		if !lines.Scan() {
			return needs, lines.Err()
		}
		module, needed, _ := strings.Cut(lines.Text(), ":")
		chain := append([]string{module}, strings.Fields(needed)...)
		slices.Reverse(chain)
		needs[moduleName(module)] = chain
	}
}

// moduleName is the name of a module by its file's: "kernel/x/drm-kms.ko.xz" is
// drm_kms.
func moduleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}
