package node

import (
	"cmp"
	"context"
	"errors"
	"io/fs"
	"path/filepath"
	"runtime"
	"slices"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/cdi"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// The kinds of failure, besides [Refusals], of what comes after modules.
const (
	filesKind = "device-files"
	cdiKind   = "cdi"
)

// sentence is what an error says, without the stage and what to do next.
func sentence(err error) string {
	var failure *stage.Error
	if errors.As(err, &failure) {
		return failure.Sentence()
	}
	return err.Error()
}

// finish makes what a driver that is loaded needs beside its modules: device
// files, and a CDI specification of them and of its user-space side. In between each
// GPU is accounted for.
func (l *loader) finish(ctx context.Context) error {
	plan, err := devices.Plan(l.host)
	if err != nil {
		return stage.OfKind(filesKind, err)
	}
	l.result.instances = devices.Instances(l.host)
	for _, n := range plan {
		l.result.Files = append(l.result.Files, n.Path)
	}
	if l.Check {
		// A container that makes device files for others need not be one that
		// may open them.
		if err := l.files.Usable(l.Dev, plan, !l.access.isHosts(l.Dev)); err != nil {
			return stage.OfKind(filesKind, err)
		}
		return cmp.Or(l.account(ctx, plan), l.checkStay(ctx))
	}
	if err := l.mayUse(plan); err != nil {
		return err
	}
	if err := l.makeFiles(ctx, plan); err != nil {
		return stage.OfKind(filesKind, err)
	}
	failed := l.account(ctx, plan)
	// The others work, and containers may be given those.
	if root := l.findUserSpace(ctx); root.Dir != "" {
		if err := l.specify(ctx, root, plan); err != nil {
			return cmp.Or(failed, stage.OfKind(cdiKind, err))
		}
	}
	return cmp.Or(failed, l.tellFabric(ctx))
}

// deviceFiles makes and removes device files, as package devices does.
type deviceFiles interface {
	Missing(dev string, files []devices.File) ([]devices.File, error)
	Make(ctx context.Context, dev string, files []devices.File) ([]devices.File, error)
	Remove(ctx context.Context, dev string, files []devices.File) ([]devices.File, error)
	Open(dev string, f devices.File) error
	// Usable is [devices.Check] of files that are this container's own, else
	// [devices.Present].
	Usable(dev string, files []devices.File, own bool) error
	Sweep(dev string, files []devices.File) error
}

// hostFiles is package devices.
type hostFiles struct{}

func (hostFiles) Missing(dev string, files []devices.File) ([]devices.File, error) {
	return devices.Missing(dev, files)
}

func (hostFiles) Make(ctx context.Context, dev string, files []devices.File) ([]devices.File, error) {
	return devices.Make(ctx, dev, files)
}

func (hostFiles) Remove(ctx context.Context, dev string, files []devices.File) ([]devices.File, error) {
	return devices.Remove(ctx, dev, files)
}

func (hostFiles) Open(dev string, f devices.File) error { return devices.Open(dev, f) }

func (hostFiles) Usable(dev string, files []devices.File, own bool) error {
	if own {
		return devices.Check(dev, files)
	}
	return devices.Present(dev, files)
}

func (hostFiles) Sweep(dev string, files []devices.File) error { return devices.Sweep(dev, files) }

// sweep has something removed that runs which were killed left half made, where this
// one has the turn: what others are making goes else.
func (l *loader) sweep(ctx context.Context, remove func() error) {
	if l.Check || l.journal.place.file == "" {
		return
	}
	if err := remove(); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("what a run that was killed left half made cannot be removed")
	}
}

// makeFiles makes the device files that are not there. Those in the host's /dev
// are changes of the host.
func (l *loader) makeFiles(ctx context.Context, plan []devices.File) error {
	changes := func(files []devices.File) (list []change) {
		if l.access.isHosts(l.Dev) {
			for _, f := range files {
				list = append(list, deviceFile{l.Dev, f})
			}
		}
		return list
	}
	l.sweep(ctx, func() error { return l.files.Sweep(l.Dev, plan) })
	missing, err := l.files.Missing(l.Dev, plan)
	if err != nil {
		return err
	}
	return l.journal.make(ctx, changes(missing), func() ([]change, error) {
		made, err := l.files.Make(ctx, l.Dev, plan)
		if err == nil {
			zerolog.Ctx(ctx).Info().Str("dev", l.Dev).Int("files", len(plan)).Int("made", len(made)).Msg("device files")
		}
		return changes(made), err
	})
}

// mayUse says what keeps this container from device files that are only its
// own; nothing where its runtime has given it the GPUs, as --gpus and CDI do.
// A load of modules has looked before it began.
func (l *loader) mayUse(plan []devices.File) error {
	if l.result.State == Loaded || l.access.isHosts(l.Dev) {
		return nil
	}
	found := l.access.devices(l.Dev)
	control := slices.DeleteFunc(slices.Clone(plan), func(n devices.File) bool { return n.Path != devices.Control })
	if len(found) == 0 || len(control) > 0 && devices.Check(l.Dev, control) == nil {
		return nil
	}
	return refuse(found, nil)
}

// lookAtUserSpace holds the share's user-space side of a driver against its
// modules before they are loaded: one of another version talks to none of them.
// That there is none stops nothing: a container may bring its own.
func (l *loader) lookAtUserSpace() []Finding {
	root, err := userspace.Find(l.share, l.version, l.trust)
	var untrusted *publish.UntrustedError
	switch {
	case errors.As(err, &untrusted):
		return []Finding{UntrustedRoot.Of(untrusted.Reason)}
	case err == nil:
		l.userSpace = root
	case !errors.Is(err, fs.ErrNotExist):
		return []Finding{UserSpace.Of(sentence(err))}
	}
	return nil
}

// findUserSpace finds the user-space side of the driver that is loaded, the
// share's or the host's. Its root is zero where there is none that serves,
// which is only said: the driver itself is there.
func (l *loader) findUserSpace(ctx context.Context) userspace.Root {
	log := zerolog.Ctx(ctx)
	root, err := l.userSpace, error(nil)
	if root.Dir == "" {
		root, err = userspace.Find(l.share, l.result.Driver, l.trust)
	}
	if err != nil {
		if !errors.Is(err, fs.ErrNotExist) {
			log.Warn().Err(err).Msg("the share's user-space side of the driver does not serve")
		}
		root, err = userspace.Discover(l.host, l.result.Driver)
	}
	if err != nil {
		log.Warn().Err(err).Msg("no user-space side of the driver for containers")
		return userspace.Root{}
	}
	l.result.UserSpace = root.Dir
	log.Info().Str("root", root.Dir).Int("files", len(root.Items)).Msg("user-space side of the driver")
	return root
}

// specify writes the CDI specification. Whoever named no folder for it may
// have no use for it: then what prevents it is only said.
func (l *loader) specify(ctx context.Context, root userspace.Root, plan []devices.File) error {
	log := zerolog.Ctx(ctx)
	hostDir, found := "", (*Finding)(nil)
	if l.trust != nil && root.Dir != l.host.Dir() {
		var err error
		if root, hostDir, err = l.copyUserSpace(ctx, root); err != nil {
			return err
		}
		l.result.UserSpace = root.Dir
	}
	if hostDir == "" {
		hostDir, found = l.rootOnHost(ctx, root)
	}
	if found != nil {
		log.Warn().Str("next", found.Do).Msg("no CDI specification: where the share lies on the host is not to be seen")
		return nil
	}
	l.link(ctx, hostDir)
	gpus, err := devices.GPUs(l.host)
	if err != nil {
		return err
	}
	file, err := l.writeSpec(ctx, cdi.Options{Root: root, HostDir: hostDir, Files: plan, GPUs: l.working(gpus), Instances: l.result.instances, Arch: kernel.ArchOf(runtime.GOARCH)})
	switch {
	case err == nil:
	case l.CDIDir != "" && !errors.Is(err, fs.ErrExist):
		return err
	default:
		log.Warn().Err(err).Msg("no CDI specification")
		return nil
	}
	l.result.CDI = file
	if !l.access.isHosts(l.Dev) {
		log.Warn().Str("dev", l.Dev).Msg("the device files are this container's own: for others, mount the host's with -v /dev:/dev")
	}
	log.Info().Str("file", file).Msg("CDI specification")
	return nil
}

// rootOnHost is where the driver's user-space side lies on the host.
func (l *loader) rootOnHost(ctx context.Context, root userspace.Root) (dir string, none *Finding) {
	if root.Dir == l.host.Dir() {
		return "/", nil
	}
	dir, sure, none := l.hostPath(root.Dir)
	if none == nil && !sure {
		l.warnUnsure(ctx, dir)
	}
	return dir, none
}

// cdiInShare is the share's folder for a CDI specification. It is recorded as
// this, since the share may lie elsewhere in the container that unloads.
const cdiInShare = "cdi"

// writeSpec writes a specification where it is to be: in the folder that was
// named, else in /etc/cdi where that is mounted, else in the share.
func (l *loader) writeSpec(ctx context.Context, o cdi.Options) (file string, err error) {
	dir := cmp.Or(l.CDIDir, filepath.Join(l.own.Dir(), cdi.Dir))
	if l.CDIDir == "" && !l.access.isMount(dir) {
		dir = l.share.CDI()
	}
	folder := cdiFolder{Dir: dir, Mounted: l.access.onMount(dir)}
	inShare := dir == l.share.CDI()
	if inShare {
		folder = cdiFolder{Dir: cdiInShare}
		if err := l.share.MkdirAll(dir); err != nil {
			return "", stage.Wrap(stage.Load, err, "the share's folder for it cannot be made", "let the share's owner write to it, or mount /etc/cdi")
		}
	}
	l.sweepSpec(ctx, dir)
	err = l.journal.makeOne(ctx, folder, func() (made bool, err error) {
		if file, err = cdi.Write(dir, cdi.Spec(o)); err != nil {
			return false, err
		}
		l.writeChannels(ctx, dir)
		return true, nil
	})
	return file, err
}

// writeChannels has the specification of IMEX channels beside that of the GPUs be of
// those that there are. Without it the GPUs serve all the same.
func (l *loader) writeChannels(ctx context.Context, dir string) {
	channels := devices.Channels(l.Dev)
	var err error
	if len(channels) == 0 {
		err = cdi.RemoveKind(dir, cdi.ChannelKind)
	} else {
		_, err = cdi.Write(dir, cdi.Channels(channels))
	}
	if err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Int("channels", len(channels)).Msg("the CDI specification of IMEX channels is not as it should be")
	}
}

// sweepSpec is [loader.sweep] of a folder with a specification. Other hosts write to
// the share's, of which prune knows.
func (l *loader) sweepSpec(ctx context.Context, dir string) {
	if dir != l.share.CDI() {
		l.sweep(ctx, func() error { return cdi.Sweep(dir) })
	}
}

// hostPath is where a folder of the share lies on the host. Sure is false where
// that is a guess.
func (l *loader) hostPath(dir string) (path string, sure bool, none *Finding) {
	inside, err := filepath.Rel(l.share.Dir(), dir)
	top, sure := l.HostShare, true
	if top == "" && err == nil {
		var real string
		if real, err = filepath.EvalSymlinks(l.share.Dir()); err == nil {
			top, sure = live.HostPath(l.host, l.own, real)
		}
	}
	if err != nil || top == "" {
		found := NoHostShare.Of()
		return "", false, &found
	}
	return filepath.Join(top, inside), sure, nil
}

// warnUnsure says that a path on the host is a guess.
func (l *loader) warnUnsure(ctx context.Context, path string) {
	zerolog.Ctx(ctx).Warn().Str("path", path).
		Msg("the share is taken to lie there on the host; say so with --host-share")
}
