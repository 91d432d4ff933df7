package share

import (
	"errors"
	"io/fs"
	"syscall"

	"github.com/k8sp/cuda/internal/beneath"
)

// Usage adds up the disk that files would give back if all that was added were
// removed. The zero value is ready for use.
type Usage struct {
	linked map[inode]int // how many of a file's names were seen
}

type inode struct{ device, number uint64 }

// blockUnit is that of st_blocks, whatever the file system's own is.
const blockUnit = 512

// Add returns the disk, in bytes, that goes with the file or folder at path. A
// file of several names counts where the last of them is added, and not at all
// while it keeps one. Links are not followed; what is not there is nothing.
func (u *Usage) Add(path string) (bytes uint64, err error) {
	err = beneath.WalkDir(path, func(name string, d fs.DirEntry, err error) error {
		if err == nil {
			var info fs.FileInfo
			if info, err = d.Info(); err == nil {
				bytes += u.freed(info)
			}
		}
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		return err
	})
	return bytes, err
}

func (u *Usage) freed(info fs.FileInfo) uint64 {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return uint64(info.Size())
	}
	if !info.IsDir() && st.Nlink > 1 {
		if u.linked == nil {
			u.linked = map[inode]int{}
		}
		key := inode{uint64(st.Dev), st.Ino}
		if u.linked[key]++; u.linked[key] != int(st.Nlink) {
			return 0
		}
	}
	return uint64(st.Blocks) * blockUnit
}
