package partial

import (
	"bytes"
	"crypto/sha1"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"

	"github.com/go-git/go-git/v5/plumbing/filemode"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
)

// share links those files of the earlier checkout that the new one has, too, and that may
// be, so that they need not be written again. What cannot be linked is written later.
func (c *checkout) share(w *writer, may func(*file) bool) {
	if c.o.Earlier == "" || !w.ready() {
		return
	}
	var folders []string
	in := map[string][]*file{}
	for _, f := range c.files {
		// What may not be may be written meanwhile, and is not looked at.
		if f.wanted && f.mode != filemode.Symlink && may(f) && f.info == nil {
			folder := path.Dir(f.path)
			if in[folder] == nil {
				folders = append(folders, folder)
			}
			in[folder] = append(in[folder], f)
		}
	}
	inParallel(len(folders), func(i int) bool {
		err := c.shareFolder(w, folders[i], in[folders[i]])
		return err == nil || errors.Is(err, fs.ErrNotExist) || errors.Is(err, unix.ENOTDIR) || errors.Is(err, beneath.ErrLink)
	})
}

// shareFolder links files of one folder. An error is that of a link, or of the folder.
func (c *checkout) shareFolder(w *writer, folder string, files []*file) error {
	return beneath.In(filepath.Join(c.o.Earlier, folder), func(earlier beneath.Folder) error {
		return beneath.In(filepath.Join(c.o.Dir, folder), func(here beneath.Folder) error {
			buffer := make([]byte, 64<<10)
			for _, f := range files {
				name := path.Base(f.path)
				if !holds(earlier, name, f, buffer) {
					continue
				}
				info := new(unix.Stat_t)
				if err := earlier.Link(name, here, info); err != nil {
					return err
				}
				w.wrote(f, info)
			}
			return nil
		})
	})
}

// holds says whether a folder has the very file. Its content is read: whoever changed it may
// have kept its time. Two contents of one SHA-1 are no matter here, since whoever made both has
// the other in the repository.
func holds(in beneath.Folder, name string, f *file, buffer []byte) bool {
	var st unix.Stat_t
	fd, err := in.OpenFD(name, &st)
	if err != nil {
		return false
	}
	defer unix.Close(fd)
	if st.Mode&unix.S_IFMT != unix.S_IFREG || (st.Mode&0o100 != 0) != (f.mode == filemode.Executable) {
		return false
	}
	hash := sha1.New()
	fmt.Fprintf(hash, "blob %d\x00", st.Size)
	var size int64
	for {
		n, err := unix.Read(fd, buffer)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return false
		}
		hash.Write(buffer[:n])
		if size += int64(n); n == 0 || size > st.Size {
			break
		}
	}
	return size == st.Size && bytes.Equal(hash.Sum(nil), f.hash[:])
}

// inParallel does n things, a share of them on each CPU, until one says that there is no
// point in going on.
func inParallel(n int, do func(i int) bool) {
	var next atomic.Int64
	var all sync.WaitGroup
	for range runtime.GOMAXPROCS(0) {
		all.Go(func() {
			for i := int(next.Add(1)) - 1; i < n; i = int(next.Add(1)) - 1 {
				if !do(i) {
					next.Store(int64(n))
					return
				}
			}
		})
	}
	all.Wait()
}

// maxBorrowed bounds how many packs are taken over: each release adds two.
const maxBorrowed = 16

// borrow gives dir the packs of an earlier checkout, and says whether it has: by hard links,
// or as copies where those cannot be.
func borrow(from, dir string) (bool, error) {
	packs, err := beneath.Glob(filepath.Join(from, dot, "objects", "pack"), "pack-*.idx")
	if err != nil || len(packs) > maxBorrowed {
		return false, err
	}
	for _, idx := range packs {
		stem := strings.TrimSuffix(idx, ".idx")
		for _, name := range []string{stem + ".pack", stem + ".promisor", idx} {
			to := filepath.Join(dir, dot, "objects", "pack", filepath.Base(name))
			if err := beneath.LinkOrCopy(name, to); err != nil && !(errors.Is(err, os.ErrNotExist) && name == stem+".promisor") {
				return false, err
			}
		}
	}
	return true, nil
}
