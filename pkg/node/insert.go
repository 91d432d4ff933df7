package node

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/node/modprobe"
	"github.com/k8sp/cuda/pkg/stage"
)

// insertion is the modules of one load on their way into the kernel.
type insertion struct {
	*loader
	tree     live.Tree
	inTree   map[string][]string // of the kernel's own, by the entry that they are loaded before
	entries  []modules.Entry     // of the driver
	firmware live.Firmware
	// path is what the search path for firmware is to be; empty leaves it. place is
	// where firmware is copied to before; empty where it is not.
	path   string
	place  string
	asked  map[string]string // options that were asked for, by module
	wishes modprobe.Config   // of the host's people
}

// insert looks at all that can be known before, and then loads modules, after
// it has taken out those of another driver where it is to replace one.
func (l *loader) insert(ctx context.Context, entries []modules.Entry, replace bool) error {
	i := insertion{loader: l, entries: entries, inTree: map[string][]string{}, tree: live.ReadTree(l.release, l.host, l.own), firmware: live.ReadFirmware(l.host, l.own)}
	var err error
	if i.asked, err = l.parameters(); err != nil {
		return err
	}
	found := i.look(ctx)
	if err := refuse(found, nil); err != nil {
		return err
	}
	if replace {
		if err := l.takeOutOther(ctx); err != nil {
			return err
		}
	}
	if err := i.insertAll(ctx); err != nil {
		l.rollBack(ctx)
		l.result.Modules, l.result.InTree = []string{}, []string{}
		if replace {
			zerolog.Ctx(ctx).Warn().Msg("the driver that was to be replaced is taken out, and no other is loaded")
		}
		return err
	}
	return nil
}

// look returns all that stands in the way.
func (i *insertion) look(ctx context.Context) []Finding {
	found := i.lookAtGPUs()
	i.leaveBlacklisted(ctx)
	i.readWishes(ctx)
	found = append(found, i.leaveUnwanted(ctx)...)
	modules := i.access.modules(names(i.entries))
	found = append(found, modules...)
	if slices.ContainsFunc(modules, func(f Finding) bool { return f.Name == NoModules.Name }) {
		return found // nothing else matters then
	}
	found = append(found, i.lookAtTree(ctx)...)
	found = append(found, i.access.devices(i.Dev)...)
	found = append(found, i.lookAtUserSpace()...)
	found = append(found, i.lookAtFirmware(ctx)...)
	return append(found, i.gate(ctx)...)
}

// lookAtGPUs says which of the host's GPUs stand in the way.
func (l *loader) lookAtGPUs() []Finding {
	if len(l.gpus) == 0 && l.TryWithoutDevice {
		return nil
	}
	found := l.access.gpus(l.gpus)
	if l.found.Manifest.Driver.Version == "" {
		return found
	}
	var unserved []Finding
	for _, gpu := range l.gpus {
		if why := cuda.Serves(l.found.Manifest.Driver.ModuleType, l.version, gpu); why != "" {
			unserved = append(unserved, NotServed.Of(describe(gpu), why))
		}
	}
	if len(unserved) == len(l.gpus) {
		found = append(found, unserved...)
	}
	return found
}

// leaveBlacklisted leaves out what the kernel was told to refuse and may be
// left out, with what needs it.
func (i *insertion) leaveBlacklisted(ctx context.Context) {
	refused := i.access.blacklisted(optional)
	i.leaveOut(ctx, "the kernel's command line has module_blacklist= with it", func(e modules.Entry) bool {
		return slices.Contains(refused, e.Name)
	})
}

// leaveOut leaves out those of the modules that may be and that are to be, and
// those of them that need one of these.
func (i *insertion) leaveOut(ctx context.Context, why string, is func(modules.Entry) bool) {
	i.entries = slices.DeleteFunc(slices.Clone(i.entries), func(e modules.Entry) bool {
		out := i.mayLack(e.Name) && (is(e) || i.lacksSibling(e))
		if out {
			i.result.LeftOut = append(i.result.LeftOut, e.Name)
			zerolog.Ctx(ctx).Warn().Str("module", e.Name).Str("why", why).Msg("left out; CUDA can do without it")
		}
		return out
	})
}

// lacksSibling says whether a module needs one that is left out.
func (i *insertion) lacksSibling(e modules.Entry) bool {
	return slices.ContainsFunc(e.Siblings, func(s string) bool { return slices.Contains(i.result.LeftOut, s) })
}

// lookAtTree finds the kernel's own modules that come first. Modules of the
// driver that lack one of them are left out where nobody asked for them.
func (i *insertion) lookAtTree(ctx context.Context) []Finding {
	var lacking []string
	i.leaveOut(ctx, "it needs modules of the kernel's own, and the host's /lib/modules is not to be seen", func(e modules.Entry) bool {
		_, missing := i.tree.Needed(i.state, e.InTree)
		return len(missing) > 0 && !i.tree.Seen()
	})
	for _, e := range i.entries {
		order, missing := i.tree.Needed(i.state, e.InTree)
		switch {
		case len(missing) > 0 && !i.tree.Seen():
			lacking = append(lacking, missing...)
		case len(missing) > 0:
			zerolog.Ctx(ctx).Warn().Str("module", e.Name).Strs("needs", missing).
				Msg("modules of the kernel's own that this module was thought to need are nowhere to be found")
		}
		i.inTree[e.Name] = order
	}
	if len(lacking) == 0 {
		return nil
	}
	slices.Sort(lacking)
	return []Finding{NoTree.Of(strings.Join(slices.Compact(lacking), ", "))}
}

// hold detects the running kernel and holds the modules against it; damaged is why
// they could not be read.
func (i *insertion) hold(ctx context.Context, o kernel.DetectOptions) (target kernel.Target, checks []modules.Check, damaged, err error) {
	if target, err = kernel.Detect(ctx, i.host, o); err == nil {
		checks, damaged = i.found.Manifest.Gate(i.found.Dir, target, nil)
	}
	return target, checks, damaged, err
}

// gate holds the modules against the kernel as it is now. What cannot be told
// of it stops nothing: the kernel looks again.
func (i *insertion) gate(ctx context.Context) []Finding {
	cache := i.share.Exports()
	if i.trust != nil {
		cache = "" // nobody vouches for it
	}
	target, checks, damaged, err := i.hold(ctx, kernel.DetectOptions{Cache: cache, Needs: cuda.MayUse})
	if errors.As(damaged, new(*modules.UnreadError)) {
		target, checks, damaged, err = i.hold(ctx, kernel.DetectOptions{Cache: cache})
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("too little is to be seen of the running kernel to hold the modules against it; their digests are right, and the kernel will look at them itself")
		return nil
	}
	if damaged != nil {
		return []Finding{i.damaged(damaged)}
	}
	chosen := append(names(i.entries), "") // what is of no one module is of all
	checks = slices.DeleteFunc(checks, func(c modules.Check) bool { return !slices.Contains(chosen, c.Module) })
	var failed []string
	var unsigned string
	for _, c := range checks {
		if modules.Judge([]modules.Check{c}, modules.Policy{Allow: i.found.Manifest.Overridden, Published: true}) == nil {
			continue
		}
		switch {
		case modules.OfTypes(c.Name):
			// The kernel would take them, and they would read and write what is
			// elsewhere.
			failed = append(failed, c.String())
		case c.Kind != modules.KernelCheck:
			// More may be to be seen now than was at the build, such as whose
			// symbols depends: should have named. The kernel does not mind.
			zerolog.Ctx(ctx).Warn().Msg(c.String())
		case c.Name == "signature":
			unsigned = c.String()
		default:
			failed = append(failed, c.String())
		}
	}
	var found []Finding
	if unsigned != "" {
		found = append(found, Unsigned.Of(target.Signing.From, unsigned))
	}
	if len(failed) > 0 {
		if i.found.Replaced() {
			return []Finding{Anew.Of()} // the rest may lack no more than those that are gone
		}
		found = append(found, Unaccepted.Of(strings.Join(failed, "; ")))
	}
	return found
}

// parameters are what insmod would have after each module, by its name.
func (l *loader) parameters() (map[string]string, error) {
	values := map[string]string{}
	for _, given := range l.Parameters {
		module, setting, ok := strings.Cut(given, ".")
		module = strings.ReplaceAll(module, "-", "_")
		name, _, _ := strings.Cut(setting, "=")
		at := slices.IndexFunc(l.found.Manifest.Modules, func(e modules.Entry) bool { return e.Name == module })
		if !ok || at < 0 || strings.ContainsAny(setting, " \t\n\"") {
			return nil, stage.New(stage.Usage, fmt.Sprintf("%q is no parameter of a published module", given), "write it as MODULE.NAME=VALUE, such as nvidia.NVreg_EnableGpuFirmware=0")
		}
		if !slices.ContainsFunc(l.found.Manifest.Modules[at].Parameters, func(p modules.Parameter) bool { return p.Name == name }) {
			return nil, stage.New(stage.Usage, fmt.Sprintf("%s has no parameter %s", module, name), "the manifest lists those that it has")
		}
		values[module] = strings.TrimSpace(values[module] + " " + setting)
	}
	return values, nil
}

// insertAll puts everything in.
func (i *insertion) insertAll(ctx context.Context) error {
	if err := i.setFirmware(ctx); err != nil {
		return err
	}
	for _, e := range i.entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		if i.mayLack(e.Name) && i.lacksSibling(e) {
			i.result.LeftOut = append(i.result.LeftOut, e.Name)
			continue
		}
		file, err := live.Take(filepath.Join(i.found.Dir, e.File), e.SHA256)
		if err != nil {
			return refuse([]Finding{i.damaged(err)}, nil)
		}
		err = i.insertEntry(ctx, e, file)
		if err != nil && i.mayLack(e.Name) && ctx.Err() == nil {
			leftOut := "left out: it could not be loaded, and CUDA can do without it"
			if e.Name == peermem {
				leftOut += "; GPUDirect RDMA goes by dma-buf, which the open modules and Linux 5.12 have"
			}
			zerolog.Ctx(ctx).Warn().Err(err).Str("module", e.Name).Msg(leftOut)
			i.result.LeftOut = append(i.result.LeftOut, e.Name)
			continue
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// insertEntry puts a module of the driver in, after those of the kernel's own
// that it needs.
func (i *insertion) insertEntry(ctx context.Context, e modules.Entry, file *os.File) error {
	defer file.Close()
	for _, name := range i.inTree[e.Name] {
		if slices.Contains(i.result.InTree, name) {
			continue
		}
		own, err := i.tree.Take(name)
		if err != nil {
			return stage.Wrap(stage.Load, err, "the kernel's own module "+name+" cannot be read", "check the mount of /lib/modules")
		}
		if err := i.insertModule(ctx, inTreeModule{name}, &i.result.InTree, name, own, i.options(name)); err != nil {
			return err
		}
	}
	return i.insertModule(ctx, driverModule{e.Name, i.version}, &i.result.Modules, e.Name, file, i.options(e.Name))
}

// insertModule puts a module in, which is the change, and adds it to those that
// were.
func (i *insertion) insertModule(ctx context.Context, c change, inserted *[]string, name string, file *os.File, parameters string) error {
	return i.journal.makeOne(ctx, c, func() (bool, error) {
		new, err := i.give(ctx, name, file, parameters)
		if new {
			*inserted = append(*inserted, name)
		}
		return new, err
	})
}

// give gives the kernel a module. New is false where somebody else was faster.
func (i *insertion) give(ctx context.Context, name string, file *os.File, parameters string) (new bool, err error) {
	defer file.Close()
	mark := live.MarkLog(i.Kernel)
	err = i.Kernel.Insert(file, parameters)
	log, hidden := mark.Since()
	for _, line := range log {
		zerolog.Ctx(ctx).Debug().Str("module", name).Msg(line)
	}
	if errors.Is(err, unix.EEXIST) || errors.Is(err, unix.EBUSY) && live.Read(i.host).Has(name) {
		// A loader with another share, or who has no /run/cuda, took no turn of ours.
		if now := live.Read(i.host).Version(); name == live.Main && now != i.version {
			return false, refuse([]Finding{OtherVersion.Of(now, i.version, "")}, nil)
		}
		zerolog.Ctx(ctx).Info().Str("module", name).Msg("somebody else has just loaded it")
		return false, nil
	}
	if err != nil {
		why := explain(name, err, log, hidden, i.access.enforcing())
		if why.Name == NoDevice.Name && len(i.gpus) > 0 {
			// There is one, and the driver will not have it.
			why = NotServed.Of(describe(i.gpus[0]), "nvidia says that it found none")
		}
		return false, refuse([]Finding{why}, logError(log, hidden))
	}
	zerolog.Ctx(ctx).Info().Str("module", name).Str("parameters", parameters).Msg("loaded")
	return true, nil
}
