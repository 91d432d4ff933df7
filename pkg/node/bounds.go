package node

import (
	"context"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live"
)

// A record says what to undo as root. However it came to be where it is, it is obeyed
// only as far as load can have done what it tells: that is each change's beyond.

// believe is what a record has, as far as load can have done it. What it cannot have
// is kept as a change that nobody undoes, and is told of.
func (l *loader) believe(ctx context.Context, entries []entry) []entry {
	var list []entry
	for _, e := range entries {
		why := e.beyond(l)
		switch {
		case why == "":
			list = append(list, e)
		case is[inTreeModule](e.change):
			// To leave one loaded does no harm, and which ones the next driver
			// needs is not known.
			zerolog.Ctx(ctx).Warn().Msg("not obeyed, and forgotten: " + why)
		default:
			list = append(list, entry{change: unknownChange{e.kind(), string(encodeChange(e.change)), why}})
		}
	}
	return list
}

// beyond is why load cannot have made the change; "" where it can.
func (c driverModule) beyond(l *loader) string {
	if slices.Contains(live.Family, c.Name) || strings.HasPrefix(c.Name, live.Main+"_") && !l.tree().Has(c.Name) {
		return ""
	}
	return fmt.Sprintf("the record has the module %.60q, which is none of NVIDIA's driver: it stays as it is", c.Name)
}

func (c inTreeModule) beyond(l *loader) string {
	if l.tree().ForDriver(c.Name) {
		return ""
	}
	return fmt.Sprintf("the record has the kernel's own module %.60q, which no driver of NVIDIA's needs", c.Name)
}

func (c firmwarePath) beyond(l *loader) string {
	if isFirmware(l.release, c.Path) || isCopy(c.Path) {
		return ""
	}
	return fmt.Sprintf("the record has %.255q for the firmware's folder, where no share has firmware for this kernel: the kernel's search path stays as it is", c.Path)
}

func (c deviceFile) beyond(l *loader) string {
	if devices.Ours(l.host, c.File) {
		return ""
	}
	return fmt.Sprintf("the record has the device file %.60q (%d:%d), which is none of NVIDIA's driver: it stays", c.File.Path, c.File.Major, c.File.Minor)
}

// cdiName is what the folders are called in which runtimes look: /etc/cdi,
// /var/run/cdi, and a share's.
const cdiName = "cdi"

func (c cdiFolder) beyond(l *loader) string {
	switch {
	case c.Dir == cdiInShare, c.Dir == l.CDIDir && c.Dir != "", filepath.IsAbs(c.Dir) && filepath.Base(c.Dir) == cdiName:
		return ""
	}
	return fmt.Sprintf("the record has a CDI specification in %.255q, which is not named as the folders of CDI are: it stays, unless unload is told of the folder with --cdi-dir", c.Dir)
}

func (unknownChange) beyond(*loader) string { return "" }

// tree is what came with the kernel of modules.
func (l *loader) tree() live.Tree { return live.ReadTree(l.release, l.host, l.own) }

// versionName is what a driver's version is made of.
var versionName = regexp.MustCompile(`^[0-9][0-9.]*$`)

// isFirmware says whether a path is that of the firmware beside the modules of a
// share for a release, as [insertion.lookAtFirmware] sets it.
func isFirmware(release, name string) bool {
	dir, last := path.Split(name)
	if !path.IsAbs(name) || path.Clean(name) != name || last != modules.FirmwareDir || strings.ContainsAny(name, "\n\x00") {
		return false
	}
	dir, of := path.Split(path.Clean(dir))
	return versionName.MatchString(of) && strings.HasSuffix(path.Clean(dir), "/modules/"+release)
}

// copiedFirmware is what [copyName] makes for firmware.
var copiedFirmware = regexp.MustCompile(`^` + firmwareCopy + `-[0-9][0-9.]*-[0-9a-f]{12}$`)

// isCopy says whether a path is that of a copy of a share's firmware, as
// [insertion.lookAtFirmware] sets it where it is said whose is trusted.
func isCopy(name string) bool {
	return path.IsAbs(name) && path.Clean(name) == name && copiedFirmware.MatchString(path.Base(name))
}

// firmwareBefore is the search path for firmware that may be set in the place of
// load's: what is recorded where it was the kernel's own, a share's, or is a folder
// that root alone can write to. As the kernel takes firmware from there, no other is
// set than the kernel's own.
func (l *loader) firmwareBefore(recorded string) string {
	if recorded == "" || isFirmware(l.release, recorded) || l.onlyRoots(recorded) {
		return recorded
	}
	return kernelsFirmware(l.host)
}

// kernelsFirmware is the search path that a kernel was started with; "" for none but
// its own folders.
func kernelsFirmware(host *kernel.Root) (path string) {
	for word := range strings.FieldsSeq(host.Text("proc/cmdline")) {
		if word == "--" {
			break
		}
		if value, ok := strings.CutPrefix(word, "firmware_class.path="); ok {
			path = strings.Trim(value, `"`)
		}
	}
	return path
}

// onlyRoots says whether a folder of the host's is one that root alone can write to, or
// make.
func (l *loader) onlyRoots(name string) bool {
	root := l.host
	switch {
	case root.Mounted():
	case live.OnHost(l.own):
		root = l.own
	default:
		return false // it is not to be seen
	}
	dir, err := root.Path(name)
	if err != nil || !path.IsAbs(name) {
		return false
	}
	for {
		if _, err := os.Lstat(dir); !os.IsNotExist(err) {
			return rootsAlone(root.Dir(), dir) == nil
		}
		dir = filepath.Dir(dir)
	}
}
