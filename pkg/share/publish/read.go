package publish

import (
	"errors"
	"fmt"
	"path/filepath"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/share"
)

// attempts are more than the publishers that a reader can meet in a row.
const attempts = 3

// Led is the folder that a published link leads to. Of all links in a share it is
// the only one that builder follows, and no further than to a folder beside it that
// is named as a publisher names one. A folder in the place of the link, as a copy
// of a share may have it, is itself.
func Led(link string) (dir string, err error) {
	target, err := beneath.Readlink(link)
	switch {
	case errors.Is(err, unix.EINVAL): // no link
		return link, nil
	case err != nil:
		return "", err
	case share.LinkOf(target) != filepath.Base(link):
		return "", fmt.Errorf("%s leads to %q, which is not what builder names a folder there", link, target)
	}
	return filepath.Join(filepath.Dir(link), target), nil
}

// Find is the published folder at a path that somebody named, whether in a share
// that is open or a copy of one.
func Find(path string) (dir string, err error) {
	if path, err = beneath.Resolve(path); err != nil {
		return "", err
	}
	return Led(path)
}

// Read has a published folder read through the link that leads to it: read is
// given the folder itself, which is returned. Whoever does not hold the share's
// lock may have the folder replaced while it is read; then read begins again
// with the one that took its place. The error is read's, or the link's.
func Read(link string, read func(dir string) error) (dir string, err error) {
	for range attempts {
		if dir, err = Led(link); err == nil {
			err = read(dir)
		}
		if now, _ := Led(link); err == nil || now == dir {
			break
		}
	}
	return dir, err
}
