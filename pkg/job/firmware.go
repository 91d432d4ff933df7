package job

import (
	"context"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/load"
	"github.com/k8sp/cuda/pkg/stage"
)

// lookAtFirmware decides where the kernel is to look for the firmware that the
// modules name.
func (i *insertion) lookAtFirmware(ctx context.Context) []load.Finding {
	var files []string
	for _, e := range i.entries {
		files = append(files, e.Firmware...)
	}
	somewhere := func(name string) bool {
		return i.firmware.On(name) || i.firmware.Path != "" && i.host.Exists(filepath.Join(i.firmware.Path, name))
	}
	files = slices.DeleteFunc(files, somewhere)
	if len(files) == 0 {
		return nil
	}
	dir := filepath.Join(i.dir, modules.FirmwareDir)
	if missing := load.Missing(dir, files); len(missing) > 0 {
		if i.needsFirmware() {
			return []load.Finding{load.NoFirmware.Of(strings.Join(missing, ", "))}
		}
		zerolog.Ctx(ctx).Warn().Strs("firmware", missing).Msg("firmware that newer GPUs need is not beside the modules")
		return nil
	}
	path, finding := i.hostPath(ctx, dir)
	switch {
	case finding != nil:
		return []load.Finding{*finding}
	case len(path) > load.MaxFirmwarePath:
		return []load.Finding{load.LongPath.Of(path)}
	case path == i.firmware.Path:
		return nil
	case i.firmware.Writable() != nil:
		return []load.Finding{load.ReadOnlySys.Of()}
	}
	i.path = path
	return nil
}

// needsFirmware says whether no GPU of this host would start without it: the
// open modules need it with all, the others with those that have a GSP, and
// nobody does without a GPU.
func (i *insertion) needsFirmware() bool {
	if strings.Contains(i.values[load.Main], "NVreg_EnableGpuFirmware=0") {
		return false
	}
	return slices.ContainsFunc(i.gpus, cuda.HasGSP)
}

// setFirmware has the kernel look for firmware where it was decided to.
func (i *insertion) setFirmware(ctx context.Context) error {
	if i.path != "" {
		before := i.record
		if i.firmware.Path != before.Firmware {
			i.record.Before = i.firmware.Path
		}
		i.record.Firmware = i.path
		i.keep(ctx)
		if err := i.firmware.Set(i.path); err != nil {
			i.record.Firmware, i.record.Before = before.Firmware, before.Before
			i.keep(ctx)
			return stage.Wrap(stage.Load, err, "the kernel cannot be told where the firmware is", "run with --privileged")
		}
		zerolog.Ctx(ctx).Info().Str("path", i.path).Str("before", i.firmware.Path).Msg("the kernel looks for firmware in the share")
	}
	i.result.Firmware = i.record.Firmware
	return nil
}

// remindOfFirmware does the same for a driver that is loaded already, whoever
// did it: it asks for firmware each time that a GPU starts. It may have had it
// from elsewhere, so nothing is a failure.
func (l *loader) remindOfFirmware(ctx context.Context) {
	i := insertion{loader: l, entries: l.wanted, firmware: load.ReadFirmware(l.host, l.own)}
	found := i.lookAtFirmware(ctx)
	err := load.Error(found, nil)
	if err == nil {
		err = i.setFirmware(ctx)
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the kernel may not find firmware when a GPU starts")
	}
}
