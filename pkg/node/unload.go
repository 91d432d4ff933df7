package node

import (
	"context"
	"errors"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/stage"
)

// UnloadResult is what was undone.
type UnloadResult struct {
	// Driver is the version that was loaded; empty where builder had loaded
	// nothing since the host was started.
	Driver string `json:"driver"`
	// Modules and InTree were taken out, in this order.
	Modules []string `json:"modules"`
	InTree  []string `json:"in_tree"`
	// Firmware is the kernel's search path as it is again.
	Firmware string `json:"firmware"`
	// Files were removed from the host's /dev.
	Files []string `json:"nodes"`
}

// Unload undoes what [Load] has done on this host since it was started: it
// takes out the modules that it put in, has the kernel look for firmware where
// it did before, and removes the device files that it made in the host's /dev and
// its CDI specifications. Errors are of the load stage; a driver that is in use
// is left whole, and what could not be undone stays recorded for the next time.
func Unload(ctx context.Context, o LoadOptions) (UnloadResult, error) {
	result := UnloadResult{Modules: []string{}, InTree: []string{}, Files: []string{}}
	err := stage.Run(ctx, stage.Load, func(ctx context.Context) error {
		l, done, err := newLoader(ctx, o)
		if err != nil {
			return err
		}
		defer done()
		return l.unload(ctx, &result)
	})
	return result, ofLoad(err)
}

func (l *loader) unload(ctx context.Context, result *UnloadResult) error {
	log := zerolog.Ctx(ctx)
	if l.record.Empty() {
		if loaded := l.state.Version(); loaded != "" {
			log.Info().Str("driver", loaded).Msg("a driver is loaded, and not by builder; it is left as it is")
		} else {
			log.Info().Msg("no driver is loaded, and there is nothing to undo")
		}
		return nil
	}
	result.Driver = l.record.Driver
	if loaded := l.state.Version(); loaded != "" && l.record.Driver != "" && loaded != l.record.Driver {
		log.Info().Str("driver", loaded).Msg("somebody has loaded another driver since; its modules and device files are left as they are")
		l.record.Modules, l.record.Nodes = nil, nil
	}
	var ours []live.Module
	for _, name := range l.record.Modules {
		if m, ok := l.state.Loaded[name]; ok {
			ours = append(ours, m)
		}
	}
	removed, err := l.remove(ctx, l.record.Driver, ours)
	result.Modules = append(result.Modules, removed...)
	if err != nil {
		for _, name := range removed {
			l.record.DropModule(name)
		}
		l.keep(ctx)
		return err
	}
	l.record.Driver, l.record.Modules = "", nil
	left := slices.Concat(l.removeInTree(ctx, result), l.restoreFirmware(ctx, result), l.removeNodes(ctx, result), l.removeCDI(ctx))
	if err := l.record.Write(context.WithoutCancel(ctx), l.share, l.boot); err != nil {
		return stage.Wrap(stage.Load, err, "the record of what was loaded cannot be changed", "check that the share is writable")
	}
	if len(left) > 0 {
		return refuse([]Finding{NotUndone.Of(strings.Join(left, "; "))}, nil)
	}
	return nil
}

// remove takes modules of the driver out if nobody uses any of them. They are
// in an order in which they can be loaded.
func (l *loader) remove(ctx context.Context, driver string, list []live.Module) (removed []string, err error) {
	if slices.ContainsFunc(list, func(m live.Module) bool { return m.References < 0 }) {
		return nil, refuse([]Finding{NoUnload.Of()}, nil)
	}
	users, complete := live.Users(l.host, l.own)
	if held := live.Held(list, users, complete); held != "" {
		return nil, refuse([]Finding{InUse.Of(driver, held)}, nil)
	}
	for _, m := range slices.Backward(list) {
		mark := live.MarkLog(l.Kernel)
		err := l.Kernel.Remove(m.Name)
		switch {
		case err == nil:
			removed = append(removed, m.Name)
			zerolog.Ctx(ctx).Info().Str("module", m.Name).Msg("unloaded")
		case errors.Is(err, unix.ENOENT):
		case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EBUSY):
			return removed, refuse([]Finding{InUse.Of(driver, "somebody has just begun to use "+m.Name)}, nil)
		case errors.Is(err, unix.ENOSYS):
			return removed, refuse([]Finding{NoUnload.Of()}, nil)
		case errors.Is(err, unix.EPERM):
			return removed, refuse(l.access.Modules(nil), err)
		default:
			said, hidden := mark.Since()
			return removed, refuse([]Finding{Refused.Of("to unload "+m.Name, err.Error())}, LogError(said, hidden))
		}
	}
	return removed, nil
}

// takeOut unloads a driver for another one.
func (l *loader) takeOut(ctx context.Context) error {
	list := l.state.Driver()
	removed, err := l.remove(ctx, l.state.Version(), list)
	for _, name := range removed {
		l.record.DropModule(name)
	}
	l.keep(ctx)
	if err != nil {
		return err
	}
	zerolog.Ctx(ctx).Info().Str("driver", l.state.Version()).Str("modules", strings.Join(removed, ", ")).Msg("the driver that was loaded is taken out")
	l.state = live.Read(l.host)
	return nil
}
