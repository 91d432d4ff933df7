package main

import (
	"path/filepath"
	"time"

	"github.com/k8sp/cuda/integration/lab"
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

// diskUse is the disk that the share's own folders take, in bytes.
func diskUse(share string) int64 {
	var folders []string
	for _, name := range []string{"cuda", "driver", "linux", "modules", ".builder"} {
		folders = append(folders, filepath.Join(share, name))
	}
	return lab.DiskUse(folders...)
}
