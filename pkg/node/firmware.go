package node

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/live"
)

// lookAtFirmware decides where the kernel is to look for the firmware that the
// modules name.
func (i *insertion) lookAtFirmware(ctx context.Context) []Finding {
	var files []string
	for _, e := range i.entries {
		files = append(files, e.Firmware...)
	}
	somewhere := func(name string) bool {
		return i.firmware.On(name) || i.firmware.Path != "" && i.host.Exists(filepath.Join(i.firmware.Path, name))
	}
	if !i.mistrusts(i.firmware.Path) {
		files = slices.DeleteFunc(files, somewhere)
	}
	if len(files) == 0 {
		return nil
	}
	dir := filepath.Join(i.found.Link, modules.FirmwareDir)
	if missing := live.Missing(dir, files); len(missing) > 0 {
		if i.needsFirmware() {
			return []Finding{NoFirmware.Of(strings.Join(missing, ", "))}
		}
		zerolog.Ctx(ctx).Warn().Strs("firmware", missing).Msg("firmware that newer GPUs need is not beside the modules")
		return nil
	}
	path, sure, finding := i.hostPath(dir)
	if i.trust != nil {
		sure = true
		if i.place, path, finding = i.rootPlace(); finding == nil {
			path = filepath.Join(path, copyName(firmwareCopy, i.version, firmwareFiles(i.found.Manifest)))
		}
	}
	var found Finding
	switch {
	case i.trust == nil && i.firmwareIsSet(i.firmware):
		return nil
	case finding != nil:
		found = *finding
	case len(path) > live.MaxFirmwarePath:
		found = LongPath.Of(path)
	case path == i.firmware.Path:
		return nil
	case i.firmware.Writable() != nil:
		found = ReadOnlySys.Of()
	default:
		i.path = path
		if !sure {
			i.warnUnsure(ctx, path)
		}
		return nil
	}
	if i.needsFirmware() {
		return []Finding{found}
	}
	i.place = ""
	zerolog.Ctx(ctx).Warn().Str("why", found.Says).Str("next", found.Do).
		Msg("the kernel is not told where firmware is, which this host's GPUs do not need")
	return nil
}

// mistrusts says whether the kernel looks for firmware in what nobody vouches for: the
// share, as an earlier load had it. There it looks first, whatever is in its own folders.
func (i *insertion) mistrusts(path string) bool {
	if i.trust == nil || path == "" {
		return false
	}
	share, _, none := i.hostPath(i.share.Dir())
	return path == i.journal.firmware() || none == nil && (path == share || strings.HasPrefix(path, strings.TrimSuffix(share, "/")+"/"))
}

// needsFirmware says whether a GPU of this host would not start without it: the
// open modules need it with all, the others with those that have a GSP unless
// they are told to do without, and nobody does without a GPU.
func (i *insertion) needsFirmware() bool {
	if i.found.Manifest.Driver.ModuleType != cuda.Open && strings.Contains(i.options(live.Main), "NVreg_EnableGpuFirmware=0") {
		return false
	}
	return slices.ContainsFunc(i.gpus, cuda.HasGSP)
}

// firmwareIsSet says whether the kernel looks where builder had it look for
// this driver, which a container that sees less of the host cannot know better.
func (l *loader) firmwareIsSet(now live.Firmware) bool {
	return now.Path != "" && now.Path == l.journal.firmware() && l.version == l.journal.driver()
}

// setFirmware has the kernel look for firmware where it was decided to.
func (i *insertion) setFirmware(ctx context.Context) error {
	if i.place != "" {
		from := filepath.Join(i.found.Dir, modules.FirmwareDir)
		if err := i.keep(ctx, i.place, firmwareCopy, from, firmwareFiles(i.found.Manifest)); err != nil {
			return refuse([]Finding{notKept(err, i.damaged(err))}, nil)
		}
	}
	now := i.firmware.Path
	if i.path != "" {
		now = i.path
		i.journal.forgetFirmware(i.firmware.Path)
		err := i.journal.makeOne(ctx, firmwarePath{i.path, i.firmware.Path}, func() (bool, error) {
			err := i.firmware.Set(i.path)
			return err == nil, err
		})
		if err != nil {
			return refuse([]Finding{ReadOnlySys.Of()}, err)
		}
		zerolog.Ctx(ctx).Info().Str("path", i.path).Str("before", i.firmware.Path).Msg("the kernel looks for firmware there")
	}
	if now == i.journal.firmware() {
		i.result.Firmware = now // and else it is somebody else's
	}
	return nil
}

// remindOfFirmware does the same for a driver that builder loaded before: it
// asks for firmware each time that a GPU starts. It may have it from elsewhere
// by now, so nothing is a failure, and no guess takes the place of a path that
// is set.
func (l *loader) remindOfFirmware(ctx context.Context) {
	if l.journal.driver() != l.version || !l.journal.has(live.Main) {
		return
	}
	i := insertion{loader: l, entries: l.wanted, firmware: live.ReadFirmware(l.host, l.own)}
	if l.trust == nil && l.firmwareIsSet(i.firmware) {
		l.result.Firmware = i.firmware.Path
		return
	}
	if _, sure, _ := l.hostPath(l.found.Link); !sure && l.trust == nil {
		return
	}
	found := i.lookAtFirmware(ctx)
	err := refuse(found, nil)
	if err == nil {
		err = i.setFirmware(ctx)
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the kernel may not find firmware when a GPU starts")
	}
}
