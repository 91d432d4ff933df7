package lab

import (
	"io/fs"
	"path/filepath"
	"syscall"
)

// DiskUse is the disk that folders take, in bytes, as du(1) counts it. What
// comes and goes while it looks, and a folder that is not there, is not counted.
func DiskUse(folders ...string) int64 {
	const block = 512 // st_blocks' unit, whatever the file system's is
	type file struct{ dev, inode uint64 }
	seen := map[file]bool{}
	var blocks int64
	for _, folder := range folders {
		_ = filepath.WalkDir(folder, func(_ string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			info, err := entry.Info()
			if err != nil {
				return nil
			}
			stat, ok := info.Sys().(*syscall.Stat_t)
			if !ok || seen[file{stat.Dev, stat.Ino}] {
				return nil
			}
			if stat.Nlink > 1 && !entry.IsDir() {
				seen[file{stat.Dev, stat.Ino}] = true
			}
			blocks += stat.Blocks
			return nil
		})
	}
	return blocks * block
}
