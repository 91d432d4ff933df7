package confine

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"golang.org/x/sys/unix"
)

// plainPlaces are folders that have nothing in them in most containers.
var plainPlaces = []string{"/mnt", "/media", "/srv", "/opt"}

// Again begins this program again, with the same arguments, in a mount namespace of
// its own in which a folder is at a plain path too; what is run is confined from there.
// An environment variable tells the path. Again returns only an error: what was in the
// way, mostly that the container may not mount.
func Again(dir, variable string) error {
	dir, err := filepath.Abs(dir)
	if err != nil {
		return err
	}
	place, err := emptyPlace()
	if err != nil {
		return err
	}
	// A mount namespace is a thread's, and exec leaves that thread alone.
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNS); err != nil {
		runtime.UnlockOSThread()
		return errors.New("this container may not mount")
	}
	if err := mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return err // the thread ends with its goroutine, since it is locked
	}
	if err := mount("tmpfs", place, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=0755,size=4k"); err != nil {
		return err
	}
	at := filepath.Join(place, "builder-share")
	if err := os.Mkdir(at, 0o755); err != nil {
		return err
	}
	if err := mount(dir, at, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	return fmt.Errorf("begin again: %w", unix.Exec("/proc/self/exe", os.Args, append(os.Environ(), variable+"="+at)))
}

func emptyPlace() (string, error) {
	for _, place := range plainPlaces {
		if entries, err := os.ReadDir(place); err == nil && len(entries) == 0 {
			return place, nil
		}
	}
	return "", fmt.Errorf("none of %s is an empty folder", strings.Join(plainPlaces, ", "))
}
