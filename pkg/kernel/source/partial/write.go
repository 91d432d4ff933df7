package partial

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/progress"
)

// maxLink is the longest target of a symbolic link that Linux allows.
const maxLink = 4095

// writer writes files in parallel. Links come last, when nothing can be
// written through them any more.
type writer struct {
	dir     string
	task    *progress.Task
	ctx     context.Context
	cancel  context.CancelCauseFunc
	folders chan struct{} // closed once they are there, or cannot be
	jobs    chan []job
	wg      sync.WaitGroup
	batch   []job // not yet in jobs
	size    int   // of the batch's contents, in bytes
	links   []job
}

// How much is handed to a goroutine at once: waking one for each of the small
// files of a kernel costs more than it gains.
const (
	batchJobs  = 64
	batchBytes = 1 << 20
)

type job struct {
	files   []*file
	content []byte
}

// newWriter writes below dir, which exists and nobody else writes to, to folders that it
// makes meanwhile. The task counts files.
func newWriter(ctx context.Context, dir string, task *progress.Task, folders map[string]bool) *writer {
	w := &writer{dir: dir, task: task, folders: make(chan struct{}), jobs: make(chan []job)}
	w.ctx, w.cancel = context.WithCancelCause(ctx)
	w.wg.Go(func() {
		defer close(w.folders)
		if err := w.makeFolders(folders); err != nil {
			w.cancel(err)
		}
	})
	// Each waits for the disk, or for a server of files, most of its time.
	for range 2 * runtime.GOMAXPROCS(0) {
		w.wg.Go(func() {
			for batch := range w.jobs {
				if !w.ready() {
					continue
				}
				if err := w.put(batch); err != nil {
					w.cancel(err)
				}
			}
		})
	}
	return w
}

// ready waits for the folders, and says whether there is still something to write.
func (w *writer) ready() bool {
	<-w.folders
	return w.ctx.Err() == nil
}

// makeFolders makes folders and those above them, each level of the tree after the one
// above it, and there those of several folders at once.
func (w *writer) makeFolders(wanted map[string]bool) error {
	// By how deep they are, the folders that others are made in.
	var levels [][]string
	in, made := map[string][]string{}, map[string]bool{".": true}
	for name := range wanted {
		for ; !made[name]; name = path.Dir(name) {
			made[name] = true
			level := strings.Count(name, "/")
			for len(levels) <= level {
				levels = append(levels, nil)
			}
			parent := path.Dir(name)
			if in[parent] == nil {
				levels[level] = append(levels[level], parent)
			}
			in[parent] = append(in[parent], path.Base(name))
		}
	}
	for _, parents := range levels {
		errs := make([]error, len(parents))
		inParallel(len(parents), func(i int) bool {
			errs[i] = w.makeIn(parents[i], in[parents[i]])
			return errs[i] == nil && w.ctx.Err() == nil
		})
		if err := errors.Join(errs...); err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) makeIn(parent string, names []string) error {
	return beneath.In(filepath.Join(w.dir, parent), func(in beneath.Folder) error {
		for _, name := range names {
			if err := in.Mkdir(name, 0o755); err != nil {
				return fmt.Errorf("the folder %s: %w", path.Join(parent, name), err)
			}
		}
		return nil
	})
}

// write has the content written to each of the files, soon.
func (w *writer) write(j job) error {
	var plain, links []*file
	for _, f := range j.files {
		if f.mode == filemode.Symlink {
			links = append(links, f)
		} else {
			plain = append(plain, f)
		}
	}
	if len(links) > 0 {
		w.links = append(w.links, job{links, j.content})
	}
	if len(plain) == 0 {
		return nil
	}
	w.batch = append(w.batch, job{plain, j.content})
	if w.size += len(j.content); len(w.batch) < batchJobs && w.size < batchBytes {
		return nil
	}
	return w.flush()
}

func (w *writer) flush() error {
	batch := w.batch
	w.batch, w.size = nil, 0
	select {
	case <-w.ctx.Done():
		return context.Cause(w.ctx)
	case w.jobs <- batch:
		return nil
	}
}

// close waits until everything is written, and ends the writer.
func (w *writer) close() error {
	_ = w.flush() // it fails where the context did, which is returned
	close(w.jobs)
	w.wg.Wait()
	for _, j := range w.links {
		for _, f := range j.files {
			if w.ctx.Err() == nil {
				if err := w.link(f, string(j.content)); err != nil {
					w.cancel(err)
				}
			}
		}
	}
	err := context.Cause(w.ctx)
	w.cancel(nil)
	return err
}

// put writes the files of a batch, folder by folder: those of one mostly arrive together.
func (w *writer) put(batch []job) error {
	type content struct {
		*file
		of []byte
	}
	in := map[string][]content{}
	for _, j := range batch {
		for _, f := range j.files {
			folder := path.Dir(f.path)
			in[folder] = append(in[folder], content{f, j.content})
		}
	}
	for folder, files := range in {
		err := beneath.In(filepath.Join(w.dir, folder), func(folder beneath.Folder) error {
			for _, f := range files {
				if w.ctx.Err() != nil {
					return nil
				}
				if err := w.file(folder, f.file, f.of); err != nil {
					return err
				}
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}

func (w *writer) file(folder beneath.Folder, f *file, content []byte) error {
	mode := fs.FileMode(0o644)
	if f.mode == filemode.Executable {
		mode = 0o755
	}
	// Not an os.File: what that does for pipes and sockets is more work than
	// writing a small file is.
	fd, err := folder.CreateFD(path.Base(f.path), mode)
	if err != nil {
		return err
	}
	var info unix.Stat_t
	err = writeAll(fd, content)
	if err == nil {
		err = unix.Fstat(fd, &info)
	}
	if err := errors.Join(err, unix.Close(fd)); err != nil {
		name := filepath.Join(w.dir, f.path)
		_ = beneath.Remove(name)
		return &os.PathError{Op: "write", Path: name, Err: err}
	}
	w.wrote(f, &info)
	return nil
}

func writeAll(fd int, content []byte) error {
	for len(content) > 0 {
		n, err := unix.Write(fd, content)
		if err != nil && err != unix.EINTR {
			return err
		}
		content = content[max(n, 0):]
	}
	return nil
}

// wrote records that a file is there.
func (w *writer) wrote(f *file, info *unix.Stat_t) {
	f.info = info
	w.task.Add(1)
}

func (w *writer) link(f *file, target string) error {
	if len(target) > maxLink || target == "" || strings.Contains(target, "\x00") {
		return fmt.Errorf("%s is a link to nothing that can be", f.path)
	}
	if path.IsAbs(target) || !filepath.IsLocal(path.Join(path.Dir(f.path), target)) {
		return fmt.Errorf("%s is a link to %q, which is outside the tree", f.path, target)
	}
	where := filepath.Join(w.dir, f.path)
	if err := beneath.Symlink(target, where); err != nil {
		return err
	}
	info, err := lstat(where)
	if err != nil {
		return err
	}
	w.wrote(f, info)
	return nil
}
