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
	if i := strings.IndexFunc(s.dir, special); i >= 0 {
		return stage.New(stage.Usage, fmt.Sprintf("the share's path %q has %q in it, and no kernel's build gets along with that", s.dir, s.dir[i:i+1]),
			"mount the share at a path of letters, digits and /._+-, as /opt/share is: docker run -v DIR:/opt/share, whatever DIR is called")
	}
	var st unix.Statfs_t
	if err := s.statfs(s.dir, &st); err == nil && st.Flags&unix.ST_NOEXEC != 0 {
		return stage.New(stage.Usage, fmt.Sprintf("the share %s is mounted noexec, and a build runs programs that it makes there", s.dir),
			"mount it without noexec (on the host: mount -o remount,exec), or take a folder of another file system")
	}
	return nil
}

// special says whether a character means something to make or to the shell.
func special(r rune) bool {
	return r <= ' ' || strings.ContainsRune("!\"#$%&'()*,:;<=>?[\\]^`{|}~\x7f", r)
}
