package share

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"
)

// Chown gives path, and everything in it, to the owner of the share. Where
// that is root, or the file system does not let us (NFS that maps everybody to
// one user, a user namespace), the files stay as they are: they are somebody
// else's annoyance then, not a failed build.
func (s *Share) Chown(ctx context.Context, path string) error {
	if s.uid == 0 && s.gid == 0 {
		return nil
	}
	err := filepath.WalkDir(path, func(name string, _ fs.DirEntry, err error) error {
		if err == nil {
			err = ctx.Err()
		}
		if err == nil {
			err = s.chown(name)
		}
		if name != path && errors.Is(err, fs.ErrNotExist) {
			return nil // another run's, which removed it meanwhile
		}
		return err
	})
	if refused(err) {
		zerolog.Ctx(ctx).Debug().Err(err).Int("uid", s.uid).Int("gid", s.gid).Msg("the share keeps its own ownership")
		return nil
	}
	return err
}

// chown changes one file or link, where it needs to.
func (s *Share) chown(path string) error {
	info, err := os.Lstat(path)
	if err != nil {
		return err
	}
	if st, ok := info.Sys().(*syscall.Stat_t); ok && int(st.Uid) == s.uid && int(st.Gid) == s.gid {
		return nil
	}
	return s.lchown(path, s.uid, s.gid)
}

func refused(err error) bool {
	return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.EINVAL) ||
		errors.Is(err, unix.ENOTSUP) || errors.Is(err, unix.ENOSYS) || errors.Is(err, unix.EROFS)
}

// MkdirAll makes a folder of the share, and those it is in, readable by all
// and the share owner's.
func (s *Share) MkdirAll(dir string) error {
	switch info, err := os.Stat(dir); {
	case err == nil && info.IsDir():
		return nil
	case err == nil:
		return &fs.PathError{Op: "mkdir", Path: dir, Err: unix.ENOTDIR}
	}
	if parent := filepath.Dir(dir); dir != s.dir && parent != dir {
		if err := s.MkdirAll(parent); err != nil {
			return err
		}
	}
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if s.uid == 0 && s.gid == 0 {
		return nil
	}
	if err := s.chown(dir); err != nil && !refused(err) {
		return err
	}
	return nil
}
