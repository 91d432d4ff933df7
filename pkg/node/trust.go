package node

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// readTrust reads the certificates of those whose results are to be loaded. Without
// any, anybody's are.
func (l *loader) readTrust() error {
	if len(l.Trust) == 0 {
		return nil
	}
	t, err := signature.ReadTrust(l.Trust, l.share.Dir())
	var none *publish.UntrustedError
	if errors.As(err, &none) {
		return refuse([]Finding{NobodyTrusted.Of(none.Reason)}, nil)
	}
	if err == nil {
		l.trust = t.Verify
	}
	return err
}

// warnOfWriters says, where nobody is named who has to vouch for what is loaded, that
// somebody else than root decides what that is.
func (l *loader) warnOfWriters(ctx context.Context) {
	if l.trust != nil || l.Check {
		return
	}
	if who := l.writers(); who != "" {
		zerolog.Ctx(ctx).Warn().Str("why", who).
			Msg("nobody vouches for what is loaded: whoever can write the share has this kernel run anything; sign what is built (--sign-manifest), and load with --trust")
	}
}

// writers says who beside root can change what is loaded, or what leads to it; "" where
// nobody is seen to.
func (l *loader) writers() string {
	places := []string{l.share.Dir()}
	if path, sure, none := l.hostPath(l.share.Dir()); sure && none == nil && l.host.Mounted() {
		// The folders above what is mounted into the container are the host's.
		if dir, err := l.host.Path(strings.TrimPrefix(path, "/")); err == nil {
			if _, err := os.Stat(dir); err == nil {
				places = append(places, dir)
			}
		}
	}
	if who := share.AnyWritableByOthers(l.found.Dir); who != "" {
		return who
	}
	for _, place := range places {
		if who := share.WritableByOthers(place); who != "" {
			return who
		}
	}
	return ""
}

// rootPlace is a folder of root's for what was verified and is read again later, by the
// kernel or by containers: the one that was named, else /run/cuda where that is mounted.
// It is returned with where it lies on the host.
func (l *loader) rootPlace() (dir, onHost string, none *Finding) {
	refused := func(format string, args ...any) (string, string, *Finding) {
		found := NoRootPlace.Of(fmt.Sprintf(format, args...))
		return "", "", &found
	}
	run := filepath.Join(l.own.Dir(), runDir)
	dir = cmp.Or(l.CopyTo, run)
	if dir == run && !l.access.isMount(run) {
		return refused("%s is not mounted", runDir)
	}
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return refused("%v", err)
	}
	onHost, sure := live.HostPath(l.host, l.own, real)
	switch {
	// A container's own layer is somewhere on the host, too, until it is removed.
	case !l.access.onMount(real) && (!sure || onHost != real):
		return refused("%s is this container's own, where the host does not see it", dir)
	case sure:
	case l.host.Mounted() && l.host.Exists("proc/1/mountinfo"):
		return refused("%s is nowhere on the host", dir)
	default:
		// As the documentation mounts it.
		onHost = "/" + strings.TrimPrefix(strings.TrimPrefix(dir, l.own.Dir()), "/")
	}
	if who := share.WritableByOthers(dir); who != "" {
		return refused("%s", who)
	}
	return real, onHost, nil
}

// The kinds of copies in a place of root's.
const (
	firmwareCopy = "firmware"
	driverCopy   = "driver"
)

// copyName is the name of a copy of files, after their content.
func copyName(kind, version string, files []publish.File) string {
	sum := sha256.New()
	for _, f := range files {
		fmt.Fprintf(sum, "%s\x00%s\x00%s\x00%o\n", f.Name, f.Target, f.SHA256, f.Mode)
	}
	return fmt.Sprintf("%s-%s-%s", kind, version, hex.EncodeToString(sum.Sum(nil))[:share.DigestDigits])
}

// keep copies files of a folder, which must be those that were verified, to a place of
// root's, and removes copies of the same kind that were made for others. What is there
// already is read.
func (l *loader) keep(ctx context.Context, place, kind, from string, files []publish.File) error {
	name := copyName(kind, l.result.Driver, files)
	to := filepath.Join(place, name)
	from, err := publish.Led(from)
	if err != nil {
		return err
	}
	if slices.ContainsFunc(files, func(f publish.File) bool { return f.Differs(to) != "" }) {
		if err := copyWhole(ctx, from, files, to); err != nil {
			return err
		}
		zerolog.Ctx(ctx).Info().Str("dir", to).Int("files", len(files)).Msg("what was verified is copied where only root writes")
	}
	entries, err := os.ReadDir(place)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if old := strings.TrimPrefix(e.Name(), "."); strings.HasPrefix(old, kind+"-") && e.IsDir() && e.Name() != name {
			if err := os.RemoveAll(filepath.Join(place, e.Name())); err != nil {
				return err
			}
		}
	}
	return nil
}

// notKept is why there is no copy: what was to be copied has changed, or its place does
// not take it.
func notKept(err error, changed Finding) Finding {
	if errors.Is(err, publish.ErrChanged) || errors.Is(err, fs.ErrNotExist) || errors.As(err, new(*publish.UntrustedError)) {
		return changed
	}
	return NoRootPlace.Of(err.Error())
}

// copyWhole makes a copy, all at once.
func copyWhole(ctx context.Context, from string, files []publish.File, to string) error {
	temp, err := os.MkdirTemp(filepath.Dir(to), "."+filepath.Base(to)+"-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(temp)
	if err := publish.Copy(ctx, from, files, temp); err != nil {
		return err
	}
	if err := os.RemoveAll(to); err != nil {
		return err
	}
	return os.Rename(temp, to)
}

// firmwareFiles are those that are published beside the modules, by their names in the
// folder that the kernel searches.
func firmwareFiles(m modules.Manifest) []publish.File {
	var files []publish.File
	for _, f := range m.Firmware {
		files = append(files, publish.File{Name: strings.TrimPrefix(f.Name, modules.FirmwareDir+"/"), Size: f.Size, SHA256: f.SHA256})
	}
	return files
}

// copyUserSpace copies a user-space side of the share's, if a place was named for it,
// and returns it as it is there with where that lies on the host. Without one the
// share's serves, and who can change it is told.
func (l *loader) copyUserSpace(ctx context.Context, root userspace.Root) (userspace.Root, string, error) {
	log := zerolog.Ctx(ctx)
	if l.CopyTo == "" {
		if who := share.WritableByOthers(root.Dir); who != "" {
			log.Warn().Str("why", who).
				Msg("the driver's libraries were verified now, and containers mount them from the share, where they can be changed later; name a folder of root's with --copy-to")
		}
		return root, "", nil
	}
	place, onHost, none := l.rootPlace()
	if none != nil {
		return root, "", refuse([]Finding{*none}, nil)
	}
	files, err := userspace.Files(l.share, root.Version, l.trust)
	if err == nil {
		err = l.keep(ctx, place, driverCopy, root.Dir, files)
	}
	if err != nil {
		return root, "", refuse([]Finding{notKept(err, UserSpace.Of(err.Error()))}, nil)
	}
	name := copyName(driverCopy, l.result.Driver, files)
	root.Dir = filepath.Join(place, name)
	return root, filepath.Join(onHost, name), nil
}
