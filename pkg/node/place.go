package node

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/node/live"
)

// runDir is where the journal of a boot is written down, and by which loads of a
// host take turns. unload obeys it as root, so it is nowhere but where that host's
// root alone writes, and is gone with the boot.
//
// Where a container has none of the host's /run, there is no record. Nothing else
// would do that every container of root's sees without a mount:
//
//   - The share is somebody else's, and a key to sign a record with has to be
//     somewhere, too.
//   - Its /dev is the container's own. Into the host's, which --privileged may mount
//     anew, go device files: what looks for rootkits looks for files there.
//   - The keys of root's user keyring are those of every container whose root is the
//     host's uid 0, also one without any capability: where no seccomp profile denies
//     keyctl, as in Kubernetes unless it is asked for, such a container could forge.
//   - EFI variables are flash, that wears and outlives the boot, and not on all hosts,
//     and so is a TPM.
//   - sysfs keeps no text but firmware_class.path, which is what it is: [loader.assume]
//     goes by it. What DMI says of the machine, which only root reads, is no secret:
//     clouds tell it in their API.
const runDir = "/run/cuda"

// maxJournal is far above what a journal of hundreds of device files takes.
const maxJournal = 4 << 20

// unreadSuffix is what the name of a record goes on with that cannot be read.
const unreadSuffix = ".unread"

// place is where the journal of a boot is written down; the zero place keeps
// nothing.
type place struct {
	// file is where it is written, and read.
	file string
	// unread are those that cannot be read. They stay, and nothing is written
	// in the place of one.
	unread []unreadFile
}

// unreadFile is a journal that cannot be read, and why.
type unreadFile struct {
	file string
	err  error
}

func (u unreadFile) Error() string { return fmt.Sprintf("%s: %v", u.file, u.err) }

// placeOf is the place for this boot of this host: the zero one where none is to be
// had.
func (l *loader) placeOf(ctx context.Context) place {
	for _, dir := range l.runDirs() {
		err := dir.make()
		if err == nil {
			return place{file: filepath.Join(dir.path(), l.boot+".json")}
		}
		log := zerolog.Ctx(ctx).Debug()
		if errors.Is(err, errOthers) {
			log = zerolog.Ctx(ctx).Warn()
		}
		log.Err(err).Msg("no record is kept there of what is changed on this host, nor is one obeyed")
	}
	return place{}
}

// hostRun is a /run/cuda of the host's.
type hostRun struct {
	// top is the folder beneath which it has to be root's alone, name the rest of
	// its path.
	top, name string
}

func (r hostRun) path() string { return filepath.Join(r.top, r.name) }

// runDirs are those that this container may have, the likeliest first: mounted for
// itself, with the host's /run, or as it is, for a builder that runs on the host.
func (l *loader) runDirs() (list []hostRun) {
	if dir := filepath.Join(l.own.Dir(), runDir); l.access.isMount(dir) {
		list = append(list, hostRun{dir, ""})
	}
	if l.host.Mounted() && l.host.Dir() != l.own.Dir() {
		if run, err := l.host.Path(filepath.Dir(runDir)); err == nil && l.access.onMount(run) {
			if name, err := filepath.Rel(l.host.Dir(), run); err == nil {
				list = append(list, hostRun{l.host.Dir(), filepath.Join(name, filepath.Base(runDir))})
			}
		}
	}
	if live.OnHost(l.own) {
		list = append(list, hostRun{l.own.Dir(), runDir})
	}
	return list
}

// make makes the folder where it is not there. Its error is why it is not for a
// record: nobody but root may write to it, or to a folder that it is in.
func (r hostRun) make() error {
	if err := os.Mkdir(r.path(), 0o700); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	return rootsAlone(r.top, r.path())
}

var errOthers = errors.New("is no folder that root alone can write to")

// rootsAlone is an error where anybody but root may write to a folder, or put another
// in its place, or in that of one that it is in, from top on.
func rootsAlone(top, dir string) error {
	for at := dir; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return err
		}
		// What is root's in a sticky folder of root's, such as /tmp, stays there.
		sticky := at != dir && info.Mode()&fs.ModeSticky != 0
		if !info.IsDir() || !isRoots(info) || others(info) && !sticky {
			return fmt.Errorf("%s %w", at, errOthers)
		}
		if at == top || at == filepath.Dir(at) {
			return nil
		}
	}
}

// isRoots says whether a file is root's, or that of whom this process is of, which is
// root but in tests; others, whether more than its owner can write to it.
func isRoots(info fs.FileInfo) bool {
	is, ok := info.Sys().(*syscall.Stat_t)
	return ok && (is.Uid == 0 || int(is.Uid) == os.Geteuid())
}

func others(info fs.FileInfo) bool { return info.Mode().Perm()&0o022 != 0 }

// lock is the file by which loads take turns; "" where there is none.
func (p *place) lock() string {
	if p.file == "" {
		return ""
	}
	return strings.TrimSuffix(p.file, ".json") + ".lock"
}

// read reads what was written down of the boot. What an earlier run moved aside may
// be for this one to read. Beside an error it returns what could be read.
func (p *place) read() (entries []entry, err error) {
	p.unread = nil
	if p.file == "" {
		return nil, nil
	}
	for _, file := range p.candidates() {
		found, err := readJournal(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
		case err != nil:
			p.unread = append(p.unread, unreadFile{file, err})
		default:
			entries = merge(entries, found)
		}
	}
	for _, u := range p.unread {
		err = errors.Join(err, u)
	}
	return entries, err
}

// candidates are the files in which the journal may be: those that were moved aside,
// and its own.
func (p *place) candidates() (files []string) {
	there, _ := os.ReadDir(filepath.Dir(p.file))
	for _, f := range there {
		if strings.HasPrefix(f.Name(), filepath.Base(p.file)+unreadSuffix) {
			files = append(files, filepath.Join(filepath.Dir(p.file), f.Name()))
		}
	}
	return append(files, p.file)
}

// setAside moves a file that cannot be read out of the way of what is to be
// written there.
func (p *place) setAside(ctx context.Context) {
	at := p.blocked()
	if at < 0 {
		return
	}
	aside := p.file + unreadSuffix
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); err != nil {
			break
		}
		aside = p.file + unreadSuffix + "." + strconv.Itoa(n)
	}
	if err := os.Rename(p.file, aside); err != nil {
		return // then nothing is written there, which is told
	}
	p.unread[at].file = aside
	zerolog.Ctx(ctx).Warn().Str("file", aside).Msg("the record that cannot be read is moved there")
}

// blocked is which of the files that cannot be read is where this place's is to
// be; -1 where none is.
func (p *place) blocked() int {
	return slices.IndexFunc(p.unread, func(u unreadFile) bool { return u.file == p.file })
}

// readJournal reads one file, which is to be root's alone.
func readJournal(file string) ([]entry, error) {
	f, err := os.OpenFile(file, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK, 0)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	switch info, err := f.Stat(); {
	case err != nil:
		return nil, err
	case !info.Mode().IsRegular() || !isRoots(info) || others(info):
		return nil, errors.New("it is no file that root alone can write to")
	}
	data, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return nil, err
	}
	return parse(data)
}

// write writes something down, or that there is nothing. What was read of those that
// had been moved aside is in it.
func (p *place) write(data []byte) error {
	if p.file == "" {
		return nil
	}
	if at := p.blocked(); at >= 0 {
		return p.unread[at]
	}
	if data != nil {
		if err := atomicfile.WriteFile(p.file, data, 0o600); err != nil {
			return err
		}
	}
	for _, file := range p.candidates() {
		unread := slices.ContainsFunc(p.unread, func(u unreadFile) bool { return u.file == file })
		if unread || data != nil && file == p.file {
			continue
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}
