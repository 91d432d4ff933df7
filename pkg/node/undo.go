package node

import (
	"context"
	"errors"
	"fmt"
	"path/filepath"
	"slices"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/cdi"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live"
)

// What a load did beside the driver's modules is undone here. Each function
// takes out of the record what is undone, or is no longer there to be, and
// returns what is left in it, for people.

// removeInTree takes out the kernel's own modules that a load put in, but those
// that have found another use since.
func (l *loader) removeInTree(ctx context.Context, result *UnloadResult) (left []string) {
	for _, name := range slices.Backward(l.record.InTree) {
		switch err := l.Kernel.Remove(name); {
		case err == nil:
			result.InTree = append(result.InTree, name)
		case errors.Is(err, unix.EPERM):
			left = append(left, fmt.Sprintf("the kernel's own module %s is loaded (%v)", name, err))
			continue
		default:
			zerolog.Ctx(ctx).Info().Err(err).Str("module", name).Msg("a module of the kernel's own stays loaded")
		}
		l.record.DropModule(name)
	}
	return left
}

// restoreFirmware has the kernel look for firmware where it did before, unless
// somebody has set it since.
func (l *loader) restoreFirmware(ctx context.Context, result *UnloadResult) (left []string) {
	firmware := live.ReadFirmware(l.host, l.own)
	result.Firmware = firmware.Path
	if l.record.Firmware == "" {
		return nil
	}
	log := zerolog.Ctx(ctx)
	if firmware.Path != l.record.Firmware {
		log.Info().Str("path", firmware.Path).Msg("somebody else has set the kernel's search path for firmware; it stays")
	} else {
		if err := firmware.Set(l.record.Before); err != nil {
			return []string{fmt.Sprintf("the kernel looks for firmware in %s (%v)", firmware.Path, err)}
		}
		result.Firmware = l.record.Before
		log.Info().Str("path", l.record.Before).Msg("the kernel looks for firmware where it did before")
	}
	l.record.Firmware, l.record.Before = "", ""
	return nil
}

// removeNodes removes the device files that were made in the host's /dev,
// wherever that is mounted now.
func (l *loader) removeNodes(ctx context.Context, result *UnloadResult) (left []string) {
	if len(l.record.Nodes) == 0 {
		return nil
	}
	dirs := []string{l.record.Dev, l.Dev}
	at := slices.IndexFunc(dirs, l.access.IsHosts)
	if at < 0 {
		return []string{"device files are in the host's /dev, which is not mounted in this container"}
	}
	removed, err := devices.Remove(ctx, dirs[at], l.record.Nodes)
	for _, n := range removed {
		result.Files = append(result.Files, n.Path)
		l.record.DropNode(n.Path)
	}
	if err != nil {
		return []string{sentence(err)}
	}
	l.record.Nodes = nil
	return nil
}

// removeCDI removes the specifications that were written.
func (l *loader) removeCDI(ctx context.Context) (left []string) {
	var kept []CDIFolder
	for _, f := range l.record.CDI {
		dir := f.Dir
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(l.share.Dir(), dir)
		}
		if f.Mounted && !l.access.OnMount(dir) {
			kept, left = append(kept, f), append(left, fmt.Sprintf("a CDI specification is in %s, which is not mounted in this container", dir))
			continue
		}
		if err := cdi.Remove(dir); err != nil {
			kept, left = append(kept, f), append(left, sentence(err))
			continue
		}
		zerolog.Ctx(ctx).Debug().Str("dir", dir).Msg("the CDI specification is removed")
	}
	l.record.CDI = kept
	return left
}
