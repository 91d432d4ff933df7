package share

import (
	"fmt"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

// Buildable refuses a share in which nothing can be compiled, before the minutes
// that it takes to find out: make and the shell take some characters of a path for
// their own, and a build runs programs that it makes there.
func (s *Share) Buildable() error {
	if strings.ContainsFunc(s.dir, special) {
		return notPlain(s.dir, nil)
	}
	var st unix.Statfs_t
	if err := s.statfs(s.dir, &st); err == nil && st.Flags&unix.ST_NOEXEC != 0 {
		return stage.New(stage.Usage, fmt.Sprintf("the share %s is mounted noexec, and a build runs programs that it makes there", s.dir),
			"mount it without noexec (on the host: mount -o remount,exec), or take a folder of another file system")
	}
	return nil
}
