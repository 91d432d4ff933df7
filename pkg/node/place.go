package node

import (
	"cmp"
	"context"
	"errors"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/share"
)

// runDir is where the journal of a boot is written down where a container has it
// mounted: only the host's root writes there, and it is gone with the boot.
const runDir = "/run/cuda"

// maxJournal is far above what a journal of hundreds of device files takes.
const maxJournal = 4 << 20

// place is where the journal of a boot is written down; the zero place keeps
// nothing.
type place struct {
	share *share.Share
	// file is where it is written. In a share it is the share owner's.
	file    string
	inShare bool
	// run is this container's /run/cuda, boot the boot.
	run, boot string
	// elsewhere are other files in which it was found. They go as soon as it is
	// written.
	elsewhere []string
	// unread are those that cannot be read. They stay, and nothing is written
	// in the place of one.
	unread []unreadFile
}

// unreadFile is a journal that cannot be read, and why.
type unreadFile struct {
	file string
	err  error
}

func (u unreadFile) Error() string { return u.file + ": " + u.err.Error() }

// placeOf is the place for this boot of this host: /run/cuda where that is
// mounted, else the share.
func (l *loader) placeOf() place {
	p := place{share: l.share, run: filepath.Join(l.own.Dir(), runDir), boot: l.boot}
	if l.access.isMount(p.run) {
		p.file = filepath.Join(p.run, l.boot+".json")
	} else {
		p.file, p.inShare = l.share.LoadRecord(l.hostID(), l.boot), true
	}
	return p
}

// lock is the file beside a journal in /run/cuda by which loaders take turns; ""
// where it is elsewhere.
func (p *place) lock() string {
	if p.inShare {
		return ""
	}
	return filepath.Join(p.run, p.boot+".lock")
}

// hostID tells this host from others that have the share as well; "" where nothing
// does.
func (l *loader) hostID() string {
	return cmp.Or(kernel.HostID(l.host), kernel.HostID(l.own))
}

// read reads what was written down of the boot, wherever that was: an earlier run
// may have had other mounts, and may have seen less of the host. Beside an error
// it returns what could be read.
func (p *place) read() (entries []entry, err error) {
	p.elsewhere, p.unread = nil, nil
	for _, file := range p.candidates() {
		found, err := readJournal(file)
		switch {
		case errors.Is(err, fs.ErrNotExist):
			continue
		case err != nil:
			p.unread = append(p.unread, unreadFile{file, err})
			continue
		case file != p.file:
			p.elsewhere = append(p.elsewhere, file)
		}
		entries = merge(entries, found)
	}
	for _, u := range p.unread {
		err = errors.Join(err, u)
	}
	return entries, err
}

// candidates are the files in which the journal may be, this place's the last.
// What an earlier run moved aside may be for this one to read.
func (p *place) candidates() []string {
	files := beside(filepath.Join(p.run, p.boot+".json"))
	hosts, _ := os.ReadDir(p.share.Loaded())
	for _, host := range hosts {
		if host.IsDir() {
			files = append(files, beside(p.share.LoadRecord(host.Name(), p.boot))...)
		}
	}
	var others []string
	for _, file := range files {
		if file != p.file {
			others = append(others, file)
		}
	}
	return append(others, p.file)
}

// beside are a journal's file and those that were moved aside from there.
func beside(file string) (files []string) {
	there, _ := os.ReadDir(filepath.Dir(file))
	for _, f := range there {
		if strings.HasPrefix(f.Name(), filepath.Base(file)+share.UnreadSuffix) {
			files = append(files, filepath.Join(filepath.Dir(file), f.Name()))
		}
	}
	return append(files, file)
}

// setAside moves a file that cannot be read out of the way of what is to be
// written there.
func (p *place) setAside(ctx context.Context) {
	at := p.blocked()
	if at < 0 {
		return
	}
	aside := share.Unread(p.file, 0)
	for n := 1; ; n++ {
		if _, err := os.Lstat(aside); err != nil {
			break
		}
		aside = share.Unread(p.file, n)
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

// readJournal reads one file. It follows no link out of its folder: the share is
// somebody else's.
func readJournal(file string) ([]entry, error) {
	f, err := os.OpenInRoot(filepath.Dir(file), filepath.Base(file))
	if err != nil {
		return nil, err
	}
	defer f.Close()
	data, err := io.ReadAll(io.LimitReader(f, maxJournal))
	if err != nil {
		return nil, err
	}
	return parse(data)
}

// write writes something down, or that there is nothing, and only here.
func (p *place) write(ctx context.Context, data []byte) error {
	if p.file == "" {
		return nil
	}
	if at := p.blocked(); at >= 0 {
		return p.unread[at]
	}
	if err := p.writeHere(ctx, data); err != nil {
		return err
	}
	for len(p.elsewhere) > 0 {
		if err := removeFile(p.elsewhere[0]); err != nil {
			return err
		}
		p.elsewhere = p.elsewhere[1:]
	}
	return nil
}

func (p *place) writeHere(ctx context.Context, data []byte) error {
	if data == nil {
		return removeFile(p.file)
	}
	if p.inShare {
		if err := p.share.MkdirAll(filepath.Dir(p.file)); err != nil {
			return err
		}
	}
	return atomicfile.WriteFile(p.file, data, 0o600)
}

// removeFile removes a file that may not be there.
func removeFile(file string) error {
	if err := os.Remove(file); !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	return nil
}
