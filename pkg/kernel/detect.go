package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/stage"
)

const (
	mountHint = "mount the host's root read-only, -v /:/host:ro, or name a recorded one with --host-root"
	procHint  = "run where /proc is the host kernel's, or name a recorded host with --host-root"
)

// Detect reads the kernel that root runs and returns everything that later
// stages need of it. It stops, with a *stage.Error, at the first thing without
// which no module can be built; what is merely unknown stays zero.
func Detect(ctx context.Context, root *Root) (Target, error) {
	return detect(ctx, root, OldestTried)
}

func detect(ctx context.Context, root *Root, oldest string) (Target, error) {
	var t Target
	var banner string
	var err error
	if t.Release, banner, err = readRelease(root); err != nil {
		return Target{}, err
	}
	if err := checkLine(t.Release, oldest); err != nil {
		return Target{}, err
	}
	if t.Config, err = readConfig(root, t.Release); err != nil {
		return Target{}, err
	}
	if !t.Config.Bool("MODULES") {
		return Target{}, stage.New(stage.Detect,
			fmt.Sprintf("kernel %s was built without loadable modules (CONFIG_MODULES is not set in %s), so no driver can be loaded into it", t.Release, t.Config.From),
			"use a host whose kernel has modules, or name a recorded one with --host-root")
	}
	if t.Arch, err = arch(t.Config); err != nil {
		return Target{}, err
	}
	if t.Exports, err = readExports(root); err != nil {
		return Target{}, err
	}
	t.Compiler = compiler(ctx, banner, t.Config)
	t.Distribution = distribution(root, t.Release)
	zerolog.Ctx(ctx).Info().
		Str("root", root.Dir()).
		Str("release", t.Release.Full).
		Str("config", t.Config.From).
		Int("symbols", len(t.Exports.Symbols)).
		Bool("licenses", t.Exports.Licenses).
		Msg("kernel detected")
	return t, nil
}

// CheckArch refuses a kernel of another architecture than goarch, the image's
// own (runtime.GOARCH): its compilers make code for that one only.
func CheckArch(t Target, goarch string) error {
	image, ok := map[string]Arch{"amd64": X86_64, "arm64": AArch64}[goarch]
	if ok && t.Arch == image {
		return nil
	}
	return stage.New(stage.Detect,
		fmt.Sprintf("the host's kernel is for %s and this image is for %s", t.Arch, goarch),
		fmt.Sprintf("build the image on a machine of the host's architecture, %s", t.Arch))
}

// readRelease finds the release, and the compiler's banner where proc/version
// is there to give it.
func readRelease(root *Root) (r Release, banner string, err error) {
	version, err := readProcVersion(root)
	if err != nil {
		return Release{}, "", err
	}
	text, from := version.release, "proc/version"
	if data, err := root.ReadFile("proc/sys/kernel/osrelease"); err == nil {
		text, from = strings.TrimSpace(string(data)), "proc/sys/kernel/osrelease"
	}
	if text == "" {
		return Release{}, "", stage.New(stage.Detect,
			fmt.Sprintf("no kernel release under %s: neither proc/sys/kernel/osrelease nor proc/version is there", root.Dir()), procHint)
	}
	if version.release != "" && version.release != text {
		return Release{}, "", stage.New(stage.Detect,
			fmt.Sprintf("%s says the kernel is %q and proc/version says %q, so %s is no one host", from, text, version.release, root.Dir()),
			"capture the host again")
	}
	if r, err = ParseRelease(text); err != nil {
		return Release{}, "", stage.Wrap(stage.Detect, err, "cannot tell the kernel's version from "+from,
			"check that the host root is a Linux host's")
	}
	return r, version.banner, nil
}

func readProcVersion(root *Root) (procVersion, error) {
	text, err := root.ReadFile("proc/version")
	if errors.Is(err, fs.ErrNotExist) {
		return procVersion{}, nil
	}
	if err != nil {
		return procVersion{}, stage.Wrap(stage.Detect, err, "cannot read the kernel's version", procHint)
	}
	v, err := parseProcVersion(string(text))
	if err != nil {
		return procVersion{}, stage.Wrap(stage.Detect, err, "proc/version is not a Linux kernel's", procHint)
	}
	return v, nil
}

// configFiles are where a host keeps its kernel's config, the kernel's own copy
// first.
func configFiles(r Release) []string {
	return []string{
		"proc/config.gz",
		"boot/config-" + r.Full,
		"usr/boot/config-" + r.Full,
		"lib/modules/" + r.Full + "/config",
		"lib/modules/" + r.Full + "/build/.config",
	}
}

func readConfig(root *Root, r Release) (Config, error) {
	names := configFiles(r)
	for _, name := range names {
		data, err := root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Config{}, stage.Wrap(stage.Detect, err, "cannot read the kernel's config", mountHint)
		}
		return checkConfig(data, name, r)
	}
	if !root.Mounted() {
		return Config{}, stage.New(stage.Detect,
			fmt.Sprintf("no config of kernel %s: it has no proc/config.gz, and the host's files are not mounted", r), mountHint)
	}
	return Config{}, stage.New(stage.Detect,
		fmt.Sprintf("no config of kernel %s under %s: looked for %s", r, root.Dir(), strings.Join(names, ", ")), mountHint)
}

func checkConfig(data []byte, name string, r Release) (Config, error) {
	hint := fmt.Sprintf("put the config that kernel %s was built with in its place", r)
	c, err := ParseConfig(data)
	if err != nil {
		return Config{}, stage.Wrap(stage.Detect, err, name+" is not a kernel config", hint)
	}
	if !c.matches(r) {
		return Config{}, stage.New(stage.Detect,
			fmt.Sprintf("%s is the config of kernel %s, and the host's kernel is %s", name, c.Version, r), hint)
	}
	c.From = name
	return c, nil
}

func arch(c Config) (Arch, error) {
	switch {
	case c.Bool("X86_64"):
		return X86_64, nil
	case c.Bool("ARM64"):
		return AArch64, nil
	}
	return "", stage.New(stage.Detect,
		fmt.Sprintf("%s is of neither an x86_64 nor an arm64 kernel, and NVIDIA has drivers for no other", c.From),
		"use a host of one of these architectures")
}

// compiler is the one that built the kernel. Not to know it is no failure: the
// build then picks one and says so.
func compiler(ctx context.Context, banner string, config Config) Compiler {
	from := "proc/version"
	if banner == "" {
		from = config.From
		banner, _ = config.Get("CC_VERSION_TEXT")
	}
	c, err := ParseCompiler(banner)
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Str("from", from).Msg("the kernel does not say which compiler built it")
		return Compiler{}
	}
	c.From = from
	return c
}

func readExports(root *Root) (Exports, error) {
	const name = "proc/kallsyms"
	x, err := openExports(root, name)
	switch {
	case errors.Is(err, errNoExports):
		return Exports{}, stage.Wrap(stage.Detect, err, "cannot tell from "+name+" what the kernel exports to modules",
			"use a kernel built with CONFIG_KALLSYMS_ALL; its names are there for every reader, with or without --privileged")
	case err != nil:
		return Exports{}, stage.Wrap(stage.Detect, err, "cannot read what the kernel exports to modules", procHint)
	}
	x.From = name
	return x.without(foreignModules(root)), nil
}

func openExports(root *Root, name string) (Exports, error) {
	f, err := root.Open(name)
	if err != nil {
		return Exports{}, err
	}
	defer f.Close()
	x, err := ParseKallsyms(f)
	if err != nil {
		return Exports{}, fmt.Errorf("%s: %w", name, err)
	}
	return x, nil
}

// foreignModules are the loaded modules that were not built with the kernel,
// as the taint flag O in proc/modules says. A driver that is already loaded is
// one: what it exports is no part of the kernel that another is built for.
func foreignModules(root *Root) map[string]bool {
	data, err := root.ReadFile("proc/modules")
	if err != nil {
		return nil
	}
	foreign := map[string]bool{}
	for line := range strings.Lines(string(data)) {
		// name size references users state address [(taints)]
		fields := strings.Fields(line)
		if len(fields) < 7 {
			continue
		}
		if slices.ContainsFunc(fields[6:], func(taints string) bool {
			return strings.HasPrefix(taints, "(") && strings.Contains(taints, "O")
		}) {
			foreign[fields[0]] = true
		}
	}
	return foreign
}
