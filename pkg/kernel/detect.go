package kernel

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/stage"
)

const (
	mountHint = "mount what of the host tells (-v /boot:/host/boot:ro -v /lib/modules:/host/lib/modules:ro -v /etc/os-release:/host/etc/os-release:ro), or name a recorded host with --host-root"
	procHint  = "run where /proc is the host kernel's, or name a recorded host with --host-root"
)

// DetectOptions say what is read beside the host root.
type DetectOptions struct {
	// Image is a kernel image's file. The kernel in it is the target, whatever
	// kernel the host runs.
	Image string
	// Cache is a folder in which what the host's module files export is kept:
	// thousands of compressed files take up to half a minute to read. Empty
	// keeps nothing.
	Cache string
	// Needs says of a module that came with the kernel, by its file's path below
	// lib/modules/REL/kernel ("drivers/gpu/drm/drm.ko.xz"), whether what it exports
	// may be needed. Of the others only the names of their exports are read, from
	// depmod's list, where that is of the modules that are there; they are then
	// [Exports.Unread]. Nil reads all.
	Needs func(file string) bool
}

// Detect reads the kernel that root runs, or the one in an image, and returns
// everything that later stages need of it. The root may be nil where there is
// an image. It stops, with a *stage.Error, at the first thing without which no
// module can be built; what is merely unknown stays zero.
func Detect(ctx context.Context, root *Root, o DetectOptions) (Target, error) {
	return detect(ctx, root, o, OldestTried)
}

func detect(ctx context.Context, root *Root, o DetectOptions, oldest string) (Target, error) {
	s, err := openSources(ctx, root, o)
	if err != nil {
		return Target{}, err
	}
	t := Target{Release: s.release, Captured: root != nil && root.captured}
	if err := checkLine(t.Release, oldest); err != nil {
		return Target{}, err
	}
	if strings.Contains(strings.ToLower(t.Release.Flavour), "microsoft") {
		return Target{}, &stage.Error{Stage: stage.Detect, Kind: "wsl",
			Reason: fmt.Sprintf("kernel %s is that of Windows Subsystem for Linux, where a GPU comes from Windows's own driver (/dev/dxg): no kernel module belongs there", t.Release),
			Hint:   "install the driver on Windows; to build for another machine, name its root or its kernel image with --host-root or --kernel-image"}
	}
	if t.Config, err = s.readConfig(ctx); err != nil {
		return Target{}, err
	}
	if !t.Config.Bool("MODULES") {
		return Target{}, stage.New(stage.Detect,
			fmt.Sprintf("kernel %s was built without loadable modules (CONFIG_MODULES is not set in %s), so no driver can be loaded into it", t.Release, t.Config.From),
			"use a host whose kernel has modules, or name a recorded one with --host-root")
	}
	if t.Arch, err = s.arch(t.Config); err != nil {
		return Target{}, err
	}
	if t.Exports, err = s.readExports(ctx, t.Config); err != nil {
		return Target{}, err
	}
	t.Compiler = s.compiler(ctx, t.Config)
	t.Distribution = distribution(s.root, t.Release)
	t.Builder = s.banner.builder
	t.BuildID = s.buildID()
	t.Signing = signing(s.root, t.Config)
	t.Sample = sampleModule(ctx, s.modules.list)
	t.Types = s.typeInfo(ctx, t.Config)
	t.StructModule = s.structModule(ctx, t.Sample, t.Types)
	t.Tree = hostTree(s.root, t.Release)
	t.PCI = PCIDevices(s.root)
	t.InTree, _ = ReadDependencies(s.root, t.Release.Full)
	if err := ctx.Err(); err != nil {
		return Target{}, err
	}
	zerolog.Ctx(ctx).Info().
		Str("root", s.root.Dir()).
		Str("release", t.Release.Full).
		Str("config", t.Config.From).
		Int("symbols", len(t.Exports.Symbols)).
		Str("exports", t.Exports.From).
		Str("in_tree", t.Exports.InTree).
		Msg("kernel detected")
	if s.root.Exists("boot") && len(s.root.List("boot")) == 0 && s.kernelImage(ctx).from == "" {
		zerolog.Ctx(ctx).Warn().Str("next", "where it is an automount, as on Flatcar, run `ls /boot` on the host, and this again").
			Msg("the host's /boot has nothing in it here, so what only the kernel's image tells cannot be checked")
	}
	return t, nil
}

// ArchOf is the architecture that Go calls goarch; empty where
// there is no [Arch] for it.
func ArchOf(goarch string) Arch {
	return map[string]Arch{"amd64": X86_64, "arm64": AArch64}[goarch]
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

// readConfig takes the config from the image that the user named, from the
// host's files, or from the host's own image.
func (s *sources) readConfig(ctx context.Context) (Config, error) {
	if s.named() && s.image.Config != nil {
		return checkConfig(s.image.Config, s.image.from, s.release)
	}
	for _, name := range configFiles(s.release) {
		data, err := s.root.ReadFile(name)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return Config{}, stage.Wrap(stage.Detect, err, "cannot read the kernel's config", mountHint)
		}
		return checkConfig(data, name, s.release)
	}
	if img := s.kernelImage(ctx); img.Config != nil {
		return checkConfig(img.Config, img.from, s.release)
	}
	return Config{}, s.noConfig()
}

func (s *sources) noConfig() error {
	switch {
	case s.named():
		return stage.New(stage.Detect,
			fmt.Sprintf("no config of kernel %s: its image has none inside (CONFIG_IKCONFIG is not set), and no host's files have it", s.release),
			fmt.Sprintf("name a host, or a capture of one, that has /boot/config-%s with --host-root", s.release))
	case !s.root.Mounted():
		return stage.New(stage.Detect,
			fmt.Sprintf("no config of kernel %s: it has no proc/config.gz, and the host's files are not mounted", s.release), mountHint)
	}
	return stage.New(stage.Detect,
		fmt.Sprintf("no config of kernel %s under %s: looked for %s", s.release, s.root.Dir(), strings.Join(configFiles(s.release), ", ")), mountHint)
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

func (s *sources) arch(c Config) (Arch, error) {
	var a Arch
	switch {
	case c.Bool("X86_64"):
		a = X86_64
	case c.Bool("ARM64"):
		a = AArch64
	default:
		return "", stage.New(stage.Detect,
			fmt.Sprintf("%s is of neither an x86_64 nor an arm64 kernel, and builder builds for no other", c.From),
			"use a host of one of these architectures")
	}
	if s.named() && string(a) != s.image.Arch {
		return "", stage.New(stage.Detect,
			fmt.Sprintf("%s is the config of a kernel for %s, and the kernel image is for %s", c.From, a, s.image.Arch),
			"name the image and the host root of one kernel")
	}
	return a, nil
}

// compiler is the one that built the kernel. Not to know it is no failure: the
// build then picks one and says so.
func (s *sources) compiler(ctx context.Context, config Config) Compiler {
	banner, from := s.banner.compiler, s.bannerFrom
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

// buildID asks the kernel that runs, or the image where it was read already.
func (s *sources) buildID() BuildID {
	if s.image != nil && s.image.BuildID != "" {
		return BuildID{s.image.BuildID, s.image.from}
	}
	if id := runningBuildID(s.root); id != "" {
		return BuildID{id, notesFile}
	}
	return BuildID{}
}

// runningBuildID is what the kernel that runs says; "" where it says nothing.
func runningBuildID(root *Root) string {
	notes, err := root.ReadFile(notesFile)
	if err != nil {
		return ""
	}
	return image.BuildID(notes)
}

// structModule asks whoever can tell without a large file to decompress first.
func (s *sources) structModule(ctx context.Context, sample Sample, known TypeInfo) StructModule {
	if s.image != nil && s.image.StructModule > 0 {
		return StructModule{s.image.StructModule, s.image.from}
	}
	if known.From == btfFile {
		size, err := image.StructModule(known.BTF)
		if err == nil {
			return StructModule{size, btfFile}
		}
		zerolog.Ctx(ctx).Warn().Err(err).Str("file", btfFile).Msg("the kernel's type information is not read")
	}
	if sample.ThisModule > 0 {
		return StructModule{sample.ThisModule, sample.From}
	}
	if !s.release.AtLeast(6, 4) {
		return StructModule{} // nothing compares it
	}
	if img := s.kernelImage(ctx); img.StructModule > 0 {
		return StructModule{img.StructModule, img.from}
	}
	return StructModule{}
}
