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
// its CDI specifications. It goes by the record in /run/cuda, as far as load can
// have done what that has; without one it undoes what the kernel, and names that
// only load gives, tell of: see loader.assume. Errors are of the load stage; a driver
// that is in use is left whole, and what could not be undone stays recorded for the
// next time.
func Unload(ctx context.Context, o LoadOptions) (UnloadResult, error) {
	result := UnloadResult{Modules: []string{}, InTree: []string{}, Files: []string{}}
	err := stage.Run(ctx, stage.Load, func(ctx context.Context) error {
		l, done, err := newLoader(ctx, o)
		if err != nil {
			return err
		}
		defer done()
		err = l.takeBack(ctx, &result)
		if err == nil && l.state.Version() == result.Driver {
			l.forgetFeatures(ctx)
		}
		return err
	})
	return result, ofLoad(err)
}

// takeBack undoes what is in the journal.
func (l *loader) takeBack(ctx context.Context, result *UnloadResult) error {
	log := zerolog.Ctx(ctx)
	loaded := l.state.Version()
	var found []Finding
	for _, u := range l.journal.place.unread {
		found = append(found, Unread.Of(u.Error()))
	}
	if len(found) == 0 && l.journal.driver() == "" {
		l.journal.entries = merge(l.assume(), l.journal.entries)
	}
	if len(l.journal.entries) == 0 {
		if len(found) > 0 {
			return refuse(found, nil)
		}
		if loaded != "" {
			log.Info().Str("driver", loaded).Msg("a driver is loaded, and not by builder as far as is to be seen: no record says so, and it is not the share's; it is left as it is")
		} else {
			log.Info().Msg("no driver is loaded, and there is nothing to undo")
		}
		return nil
	}
	result.Driver = l.journal.driver()
	if loaded != "" && result.Driver != "" && loaded != result.Driver {
		log.Info().Str("driver", loaded).Msg("somebody has loaded another driver since; its modules and device files are left as they are")
		l.journal.forget(func(c change) bool { return is[driverModule](c) || is[deviceFile](c) })
	}
	if err := l.takeOutOurs(ctx, result); err != nil {
		return err
	}
	l.unlink(ctx)
	left := l.undo(ctx, result, func(entry) bool { return true })
	result.Firmware = live.ReadFirmware(l.host, l.own).Path
	if err := l.journal.write(); err != nil {
		return stage.Wrap(stage.Load, err, "the record of what was loaded cannot be changed", "mount "+runDir+" writable (-v "+runDir+":"+runDir+"), and unload again")
	}
	if len(left) > 0 {
		found = append(found, NotUndone.Of(strings.Join(left, "; ")))
	}
	return refuse(found, nil)
}

// takeOutOurs takes out what the journal has of the driver's modules, before
// anything else is undone.
func (l *loader) takeOutOurs(ctx context.Context, result *UnloadResult) error {
	// The journal's order is not the kernel's where others have taken modules out
	// and put them in since.
	ours := slices.DeleteFunc(l.state.Driver(), func(m live.Module) bool { return !l.journal.has(m.Name) })
	for _, e := range l.journal.entries {
		c, ok := e.change.(driverModule)
		if m, there := l.state.Loaded[c.Name]; ok && there && !slices.ContainsFunc(ours, func(o live.Module) bool { return o.Name == m.Name }) {
			ours = append(ours, m) // of a driver that has more than we know
		}
	}
	removed, err := l.takeOut(ctx, result.Driver, ours)
	result.Modules = append(result.Modules, removed...)
	return err
}

// takeOut takes modules of the driver, all that are loaded of those that the
// journal has, out if nobody uses any of them, and has the journal say so. They are
// in an order in which they can be loaded.
func (l *loader) takeOut(ctx context.Context, driver string, list []live.Module) (removed []string, err error) {
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
		default:
			l.journal.forgetModules(removed)
			l.journal.keep(ctx)
			return removed, l.whyItStays(driver, m.Name, err, mark)
		}
	}
	l.journal.forget(is[driverModule])
	return removed, nil
}

// whyItStays is what the kernel meant by not letting go of a module.
func (l *loader) whyItStays(driver, module string, err error, mark live.Mark) error {
	switch {
	case errors.Is(err, unix.EAGAIN), errors.Is(err, unix.EBUSY):
		return refuse([]Finding{InUse.Of(driver, "somebody has just begun to use "+module)}, nil)
	case errors.Is(err, unix.ENOSYS):
		return refuse([]Finding{NoUnload.Of()}, nil)
	case errors.Is(err, unix.EPERM):
		found := l.access.modules(nil)
		if len(found) == 0 && l.access.filtered() {
			found = []Finding{Seccomp.Of("delete_module")}
		}
		if len(found) > 0 {
			return refuse(found, err)
		}
	}
	said, hidden := mark.Since()
	return refuse([]Finding{Refused.Of("to unload "+module, err.Error())}, logError(said, hidden))
}

// takeOutOther unloads the driver that is loaded for another one.
func (l *loader) takeOutOther(ctx context.Context) error {
	removed, err := l.takeOut(ctx, l.state.Version(), l.state.Driver())
	if err != nil {
		return err
	}
	zerolog.Ctx(ctx).Info().Str("driver", l.state.Version()).Str("modules", strings.Join(removed, ", ")).Msg("the driver that was loaded is taken out")
	l.state = live.Read(l.host)
	return nil
}
