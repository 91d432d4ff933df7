package publish

import "path/filepath"

// attempts are more than the publishers that a reader can meet in a row.
const attempts = 3

// Read has a published folder read through the link that leads to it: read is
// given the folder itself, which is returned. Whoever does not hold the share's
// lock may have the folder replaced while it is read; then read begins again
// with the one that took its place. The error is read's, or the link's.
func Read(link string, read func(dir string) error) (dir string, err error) {
	for range attempts {
		if dir, err = filepath.EvalSymlinks(link); err == nil {
			err = read(dir)
		}
		if now, _ := filepath.EvalSymlinks(link); err == nil || now == dir {
			break
		}
	}
	return dir, err
}
