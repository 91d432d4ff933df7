package share

import (
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"syscall"

	"github.com/k8sp/cuda/internal/beneath"
)

// WritableByOthers says who, beside root and whoever this process is, could change
// what is at a path, or put something else there: "/home/core can be written by user
// 1000". It looks at what the path leads to and at every folder above that, as far as
// this mount namespace shows them; of a mount not at those above its source. Empty
// where nobody could; what cannot be looked at is told as that.
func WritableByOthers(name string) string {
	real, err := filepath.Abs(name)
	if err == nil {
		real, err = filepath.EvalSymlinks(real)
	}
	if err != nil {
		return fmt.Sprintf("who can write %s is not to be seen", name)
	}
	for at := real; ; at = filepath.Dir(at) {
		info, err := os.Lstat(at)
		if err != nil {
			return fmt.Sprintf("who can write %s is not to be seen", at)
		}
		if who := writers(info, at != real); who != "" {
			return fmt.Sprintf("%s can be written by %s", at, who)
		}
		if at == filepath.Dir(at) {
			return ""
		}
	}
}

// AnyWritableByOthers is [WritableByOthers] of a folder and of all that is in it.
func AnyWritableByOthers(dir string) string {
	who := WritableByOthers(dir)
	err := beneath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || who != "" || e.Type()&fs.ModeSymlink != 0 {
			return err
		}
		info, err := e.Info()
		if err != nil {
			return err
		}
		if by := writers(info, false); by != "" {
			who = fmt.Sprintf("%s can be written by %s", name, by)
		}
		return nil
	})
	if who == "" && err != nil {
		return fmt.Sprintf("who can write all of %s is not to be seen", dir)
	}
	return who
}

// writers are those who can change a file or folder. In one above what is asked for,
// and that is sticky, as /tmp is, only an entry's owner and its own can replace the
// entry. An access control list shows in the group's bits, which are its mask then.
func writers(info fs.FileInfo, above bool) string {
	st, ok := info.Sys().(*syscall.Stat_t)
	if !ok {
		return "nobody knows whom"
	}
	sticky := above && info.Mode()&fs.ModeSticky != 0
	mode := info.Mode().Perm()
	switch {
	case st.Uid != 0 && int(st.Uid) != os.Geteuid():
		return fmt.Sprintf("user %d", st.Uid)
	case mode&0o002 != 0 && !sticky:
		return "everybody"
	case mode&0o020 != 0 && st.Gid != 0 && !sticky:
		return fmt.Sprintf("group %d", st.Gid)
	}
	return ""
}
