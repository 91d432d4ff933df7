package share

import (
	"errors"
	"path/filepath"
	"time"

	"github.com/k8sp/cuda/internal/beneath"
)

// Leftovers lists, sorted, the paths of what runs that died left in the share
// beside results and caches: their locks, what they tried the share with, and
// files that were not renamed yet. Nobody has written to any of them for so long
// that its run would be taken for dead, and none is this run's.
func (l *Lock) Leftovers() ([]string, error) {
	s := l.share
	var list []string
	now, err := s.clock()
	if err != nil {
		return nil, err
	}
	// A dead holder's folder is in the way of whoever judged it dead as well,
	// for as long as the lock is held.
	_, err = beneath.Lstat(s.lockFolder())
	held := err == nil && !stale(s.lockFolder(), now)
	for _, dir := range []string{s.Private(), s.CDI()} {
		paths, err := beneath.Glob(dir, "*")
		if err != nil {
			return nil, err
		}
		for _, path := range paths {
			if s.left(path, held) && stale(path, now) {
				list = append(list, path)
			}
		}
	}
	return list, nil
}

// left says whether a path is one that runs leave behind, if they do not hold it;
// held says that some run has the lock's folder.
func (s *Share) left(path string, held bool) bool {
	name, err := filepath.Rel(s.dir, path)
	if err != nil || path == s.Scratch() {
		return false
	}
	switch place := Identify(filepath.ToSlash(name)); place.Kind {
	case Leftover:
		return true
	case Held:
		dead, _ := filepath.Match(s.deadFolder("*"), path)
		return path != s.lockFile() && path != s.rangeFile() && !(dead && held)
	}
	return false
}

// stale says whether nobody has written to a file, or to a folder and the files
// in it, for so long that its holder is taken for dead.
func stale(path string, now time.Time) bool {
	files, err := beneath.Glob(path, "*")
	for _, name := range append(files, path) {
		info, statErr := beneath.Lstat(name)
		if err = errors.Join(err, statErr); err == nil && now.Sub(info.ModTime()) < staleAfter {
			return false
		}
	}
	return err == nil
}

// clock is the time by the share's own clock, which may be another machine's.
func (s *Share) clock() (time.Time, error) {
	f, err := s.create(s.Private(), probePrefix+"*")
	if err != nil {
		return time.Time{}, err
	}
	info, err := f.Stat()
	if err := errors.Join(err, f.Close(), beneath.Remove(f.Name())); err != nil {
		return time.Time{}, err
	}
	return info.ModTime(), nil
}
