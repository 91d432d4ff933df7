package kernel

import (
	"archive/tar"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"slices"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/stage"
)

// capturedFiles are what a capture holds of any host.
var capturedFiles = []string{
	"etc/os-release",
	cmdlineFile,
	"proc/config.gz",
	kallsymsFile,
	keysFile,
	modulesFile,
	osreleaseFile,
	versionFile,
	btfFile,
	notesFile,
	lockdownFile,
	sigEnforceFile,
	"usr/lib/os-release",
}

// capturedModuleFiles are what it holds of each loaded module, under
// sys/module/NAME.
var capturedModuleFiles = []string{
	"sections/" + ksymtab, "sections/" + ksymtab + "_gpl", "sections/" + kflagstab,
}

// CaptureOptions say what of a host is captured. The zero value is the kernel that it
// runs, and none of its devices.
type CaptureOptions struct {
	// Image is the file of a kernel image. The capture is then of the host as it is
	// when it runs that kernel: what it tells of the one that it runs now is left out.
	Image string
	// Keep says of which devices on the PCI bus the capture tells; nil is none.
	Keep func(PCIDevice) bool
	// Devices is the host whose bus that is; nil is the root itself.
	Devices *Root
}

// Capture writes a tar of the files by which [Detect], and the checks of later
// stages, know a host: its kernel's version, config, symbols, types, image and
// keys, one of its modules and the lists (not the files) of the others, what is
// loaded, its os-release, and of the devices on its PCI bus those that are to be kept.
// Nothing else of the host is read.
//
// Some files are kept in part, for what they could give away: of the command
// line the words about modules, of the keys the kernel's own, of the loaded
// modules all but their addresses, of the notes the build ID, of kallsyms the exports, with addresses that
// only compare (as in addresses.go).
//
// The archive is deterministic: sorted, regular files only, without times or
// owners. Files that the host does not have are left out.
func Capture(ctx context.Context, root *Root, w io.Writer, o CaptureOptions) error {
	c, err := newRecorder(ctx, root, o)
	if err != nil {
		return err
	}
	if err := suffices(ctx, root, o.Image); err != nil {
		return err
	}
	if !root.Mounted() {
		zerolog.Ctx(ctx).Warn().Msg("the host's root is not mounted: the capture will hold its proc and sys only")
	}
	c.archive = tar.NewWriter(w)
	for _, name := range c.names(ctx) {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := c.add(ctx, name); err != nil {
			return stage.Wrap(stage.Detect, err, "cannot capture the host", "let builder read the host root, and write the whole of the capture: free some space where it goes")
		}
	}
	c.tell(ctx)
	return c.archive.Close()
}

// tell says what the capture has, and what it has not that builds and checks would use.
func (c *recorder) tell(ctx context.Context) {
	log := zerolog.Ctx(ctx)
	image := c.held[c.imageName]
	exports := c.held[inTreeSymvers(c.release, true)] || c.held[inTreeSymvers(c.release, false)]
	log.Info().Str("release", c.release.Full).Bool("image", image).Bool("symbols", c.held[kallsymsFile]).Bool("exports_of_modules", exports).Int("devices", len(c.devices)).Msg("captured")
	if !image {
		log.Warn().Str("next", "mount the host's /boot at /host/boot, once `ls /boot` has shown it there, and capture again").
			Msg("the capture has no image of this kernel: what only that tells cannot be checked")
	}
	if !exports {
		log.Warn().Str("next", "mount the host's /lib/modules at /host/lib/modules, and capture again").
			Msg("the capture has no list of what the kernel's own modules export: what uses one of them is held against those that are loaded")
	}
}

// suffices is an error, before a byte is written, where a capture would be of no use to
// any build: what that would say of it days later, on another machine. Lines that are
// older than those tried are captured all the same.
func suffices(ctx context.Context, root *Root, image string) error {
	quiet := zerolog.Nop().WithContext(ctx)
	_, err := detect(quiet, root, DetectOptions{Image: image, Needs: func(string) bool { return false }}, "0.0")
	return err
}

// recorder is one run of [Capture].
type recorder struct {
	root    *Root
	release Release
	archive *tar.Writer
	held    map[string]bool // files that are in it
	// banner is the kernel's line of proc/version.
	banner banner
	// devices are those that are told of, of the host devicesOf.
	devices   []PCIDevice
	devicesOf *Root
	// said is what the image that was named says of its kernel, under the names by which a
	// host that runs it says so.
	said map[string][]byte
	// exports is what stands in for the files of the kernel's modules, and
	// exportsName its name; empty where there are none.
	exports     []byte
	exportsName string
	// imageName is the kernel image's name; empty where there is none.
	imageName string
	// bases are the addresses by which each module's are moved.
	bases map[string]uint64
}

func newRecorder(ctx context.Context, root *Root, o CaptureOptions) (*recorder, error) {
	c := &recorder{root: root, devicesOf: root, held: map[string]bool{}}
	if o.Devices != nil {
		c.devicesOf = o.Devices
	}
	if o.Keep != nil {
		c.devices = slices.DeleteFunc(PCIDevices(c.devicesOf), func(d PCIDevice) bool { return !o.Keep(d) })
	}
	var err error
	if o.Image != "" {
		return c, c.openImage(ctx, o.Image)
	}
	if c.release, c.banner, err = readRelease(root); err != nil {
		return nil, err
	}
	c.imageName = findImage(ctx, c.root, c.release, c.banner).from
	return c, nil
}

// openImage makes the kernel in an image the one that the capture is of.
func (c *recorder) openImage(ctx context.Context, path string) error {
	img, release, err := openImage(ctx, path)
	if err != nil {
		return err
	}
	c.release, c.imageName = release, "boot/vmlinuz-"+release.Full
	c.root = img.rootFor(ctx, c.root, release)
	c.said = map[string][]byte{osreleaseFile: []byte(release.Full + "\n")}
	if c.said[c.imageName], err = readImage(path); err != nil {
		return stage.Wrap(stage.Detect, err, "the kernel image cannot be read", "name a vmlinuz that can be read")
	}
	if b, err := parseBanner(img.Banner); err == nil {
		c.banner = b
		c.said[versionFile] = []byte(b.text + "\n")
	}
	if img.BuildID != "" {
		c.said[notesFile], err = image.NoteOf(img.BuildID)
	}
	return err
}

// readImage is the file of an image that somebody named.
func readImage(path string) ([]byte, error) {
	real, err := beneath.Resolve(path)
	if err != nil {
		return nil, err
	}
	f, err := beneath.Open(real)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, image.MaxSize)
}

// names lists every file that the capture may hold, sorted.
func (c *recorder) names(ctx context.Context) []string {
	tree := "lib/modules/" + c.release.Full + "/"
	names := slices.Concat(capturedFiles, configFiles(c.release), []string{
		tree + "build/Module.symvers",
		tree + dependencyFile,
		inTreeSymvers(c.release, true),
		inTreeSymvers(c.release, false),
	})
	names = append(names, c.imageName)
	files := inTreeModules(c.root, c.release)
	names = append(names, sampleModule(ctx, files.list).From)
	c.listModules(ctx, files)
	for _, module := range c.root.List("sys/module") {
		for _, name := range capturedModuleFiles {
			names = append(names, "sys/module/"+module+"/"+name)
		}
	}
	for _, device := range c.devices {
		for _, name := range pciAttributes {
			names = append(names, pciDevices+"/"+device.Address+"/"+name)
		}
	}
	slices.Sort(names)
	return slices.DeleteFunc(slices.Compact(names), func(name string) bool { return name == "" })
}

// listModules lists what the files of the kernel's modules export, unless the
// root is a capture, which has its list.
func (c *recorder) listModules(ctx context.Context, files moduleFiles) {
	if len(files.list) == 0 || c.root.Exists(inTreeSymvers(c.release, true)) || c.root.Exists(inTreeSymvers(c.release, false)) {
		return
	}
	symbols, whole := readModuleExports(ctx, files)
	var text bytes.Buffer
	_ = writeSymvers(&text, symbols, true) // a buffer takes every write
	c.exports, c.exportsName = text.Bytes(), inTreeSymvers(c.release, whole)
}

// add adds one file. It is read first: files of proc and sys do not know their
// size.
func (c *recorder) add(ctx context.Context, name string) error {
	data, err := c.content(name)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case errors.Is(err, errNotAFile):
		// Docker has /dev/null in the place of proc/keys.
		zerolog.Ctx(ctx).Warn().Str("file", name).Msg("left out of the capture: this container hides it; mount the host's to have it in: -v /" + name + ":/host/" + name + ":ro")
		return nil
	case err != nil:
		zerolog.Ctx(ctx).Warn().Err(err).Msg("left out of the capture")
		return nil
	}
	header := &tar.Header{
		Typeflag: tar.TypeReg,
		Name:     name,
		Mode:     0o644,
		Size:     int64(len(data)),
		ModTime:  time.Unix(0, 0),
	}
	if err := c.archive.WriteHeader(header); err != nil {
		return fmt.Errorf("%s: %w", name, err)
	}
	c.held[name] = true
	_, err = c.archive.Write(data)
	return err
}

// content is what the capture keeps of a file.
func (c *recorder) content(name string) ([]byte, error) {
	if said, ok := c.said[name]; ok {
		return said, nil
	}
	switch {
	case slices.Contains(osReleaseFiles[:], name) && c.root.otherSystem:
		return nil, fs.ErrNotExist // of the system that runs
	case strings.HasPrefix(name, pciDevices+"/"):
		return c.devicesOf.ReadFile(name)
	case name == c.exportsName:
		return c.exports, nil
	case strings.Contains(name, "/sections/"):
		return c.withoutSection(name)
	}
	limit := int64(fileLimit)
	if name == c.imageName {
		limit = image.MaxSize
	}
	data, err := c.root.readFile(name, limit)
	if err != nil {
		return nil, err
	}
	switch {
	case name == cmdlineFile:
		return []byte(decisiveParameters(string(data)) + "\n"), nil
	case name == keysFile:
		return kernelKeys(data), nil
	case name == notesFile:
		return image.BuildIDNote(data), nil
	case name == kallsymsFile:
		return c.withoutAddresses(data)
	case name == modulesFile:
		return withoutLoadAddresses(data), nil
	}
	return data, nil
}
