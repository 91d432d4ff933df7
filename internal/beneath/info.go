package beneath

import (
	"io/fs"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// info is what fstatat(2) says of a name in a folder.
type info struct {
	name string
	st   unix.Stat_t
}

// look describes what a name of a folder is; a link itself.
func look(dir int, name string) (*info, error) {
	i := &info{name: name}
	for {
		err := unix.Fstatat(dir, name, &i.st, unix.AT_SYMLINK_NOFOLLOW)
		if err != unix.EINTR {
			return i, err
		}
	}
}

// Name implements [fs.FileInfo].
func (i *info) Name() string { return i.name }

// Size implements [fs.FileInfo].
func (i *info) Size() int64 { return i.st.Size }

// ModTime implements [fs.FileInfo].
func (i *info) ModTime() time.Time { return time.Unix(i.st.Mtim.Unix()) }

// IsDir implements [fs.FileInfo].
func (i *info) IsDir() bool { return i.Mode().IsDir() }

// Mode implements [fs.FileInfo].
func (i *info) Mode() fs.FileMode {
	mode := fs.FileMode(i.st.Mode & 0o777)
	switch i.st.Mode & unix.S_IFMT {
	case unix.S_IFDIR:
		mode |= fs.ModeDir
	case unix.S_IFLNK:
		mode |= fs.ModeSymlink
	case unix.S_IFIFO:
		mode |= fs.ModeNamedPipe
	case unix.S_IFSOCK:
		mode |= fs.ModeSocket
	case unix.S_IFBLK:
		mode |= fs.ModeDevice
	case unix.S_IFCHR:
		mode |= fs.ModeDevice | fs.ModeCharDevice
	}
	if i.st.Mode&unix.S_ISUID != 0 {
		mode |= fs.ModeSetuid
	}
	if i.st.Mode&unix.S_ISGID != 0 {
		mode |= fs.ModeSetgid
	}
	if i.st.Mode&unix.S_ISVTX != 0 {
		mode |= fs.ModeSticky
	}
	return mode
}

// Sys is a *syscall.Stat_t, as that of package os is.
func (i *info) Sys() any {
	return &syscall.Stat_t{
		Dev: i.st.Dev, Ino: i.st.Ino, Mode: i.st.Mode, Nlink: i.st.Nlink, Uid: i.st.Uid, Gid: i.st.Gid, Rdev: i.st.Rdev,
		Size: i.st.Size, Blksize: i.st.Blksize, Blocks: i.st.Blocks,
		Atim: syscall.Timespec(i.st.Atim), Mtim: syscall.Timespec(i.st.Mtim), Ctim: syscall.Timespec(i.st.Ctim),
	}
}
