package main

import (
	"io/fs"
	"path/filepath"
	"syscall"
	"time"
)

// diskWatch measures what a share holds while a job runs.
type diskWatch struct {
	end  chan struct{}
	peak chan int64
}

// watchDisk looks every few seconds: a kernel tree takes a moment to walk.
func watchDisk(share string) *diskWatch {
	w := &diskWatch{end: make(chan struct{}), peak: make(chan int64)}
	go func() {
		tick := time.NewTicker(3 * time.Second)
		defer tick.Stop()
		var peak int64
		for {
			select {
			case <-tick.C:
				peak = max(peak, diskUse(share))
			case <-w.end:
				w.peak <- max(peak, diskUse(share))
				return
			}
		}
	}()
	return w
}

// stop ends the watch and returns the most bytes that it saw.
func (w *diskWatch) stop() int64 {
	close(w.end)
	return <-w.peak
}

// diskUse is the disk that the share's own folders take, in bytes. What comes
// and goes while it looks is not counted.
func diskUse(share string) int64 {
	const block = 512 // st_blocks' unit, whatever the file system's is
	var blocks int64
	counted := map[uint64]bool{} // a file with several names takes its disk once
	for _, folder := range []string{"cuda", "driver", "linux", "modules", ".builder"} {
		_ = filepath.WalkDir(filepath.Join(share, folder), func(_ string, entry fs.DirEntry, err error) error {
			if err != nil {
				return nil
			}
			if info, err := entry.Info(); err == nil {
				if stat, ok := info.Sys().(*syscall.Stat_t); ok && !counted[stat.Ino] {
					counted[stat.Ino] = true
					blocks += stat.Blocks
				}
			}
			return nil
		})
	}
	return blocks * block
}
