// Package lesser has a process of root's be somebody else, for good: what needs no
// root is done without.
package lesser

import (
	"context"
	"fmt"
	"os"
	"syscall"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/confine"
)

// OwnerOf has this process be the owner of what is at a path, or nobody where that is a
// file of root's or the path empty, if they can read all that is named: what is then
// done with it is no more than they could do themselves. Of a folder of root's that is
// named, nobody knows what in it others can read, and nothing changes. Where they cannot, or this process may
// not become them, it stays as it is, which is told in a debug line.
func OwnerOf(ctx context.Context, path string, reads ...string) {
	if os.Geteuid() != 0 {
		return
	}
	uid, gid := confine.Nobody, confine.Nobody
	var st unix.Stat_t
	if path != "" && unix.Stat(path, &st) == nil && st.Uid != 0 {
		uid, gid = int(st.Uid), int(st.Gid)
	}
	log := zerolog.Ctx(ctx)
	for _, name := range reads {
		if err := readable(uid, gid, name); err != nil {
			log.Debug().Err(err).Int("uid", uid).Msg("builder stays root, as it has to read that")
			return
		}
	}
	if err := become(uid, gid); err != nil {
		log.Debug().Err(err).Int("uid", uid).Msg("builder stays root, as this container lets it be nobody else")
		return
	}
	log.Debug().Int("uid", uid).Int("gid", gid).Msg("builder goes on without root's rights")
}

// readable tries to open a file or folder as a user.
func readable(uid, gid int, name string) error {
	var f *os.File
	err := beneath.As(uid, gid, func() (err error) {
		f, err = os.OpenFile(name, os.O_RDONLY|unix.O_NONBLOCK, 0)
		return err
	})
	if err != nil {
		return err
	}
	defer f.Close()
	var st unix.Stat_t
	if err := unix.Fstat(int(f.Fd()), &st); err != nil {
		return err
	}
	if st.Mode&unix.S_IFMT == unix.S_IFDIR && int(st.Uid) != uid {
		return fmt.Errorf("%s is user %d's", name, st.Uid)
	}
	return nil
}

// become is for all threads; capabilities go with root's identity.
func become(uid, gid int) error {
	if err := syscall.Setgroups(nil); err != nil {
		return fmt.Errorf("setgroups: %w", err)
	}
	if err := syscall.Setresgid(gid, gid, gid); err != nil {
		return fmt.Errorf("setresgid: %w", err)
	}
	if err := syscall.Setresuid(uid, uid, uid); err != nil {
		return fmt.Errorf("setresuid: %w", err)
	}
	return nil
}
