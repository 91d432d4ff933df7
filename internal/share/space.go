package share

import (
	"fmt"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/units"
	"github.com/k8sp/cuda/pkg/stage"
)

// Free is how many bytes a user may still write to the share. known is false
// where the file system does not say, as some host-shared ones do not.
func (s *Share) Free() (bytes uint64, known bool, err error) {
	var st unix.Statfs_t
	if err := s.statfs(s.dir, &st); err != nil {
		return 0, false, fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	if st.Blocks == 0 {
		return 0, false, nil
	}
	// Frsize is the unit of the counts; old file systems leave it 0.
	unit := st.Frsize
	if unit <= 0 {
		unit = st.Bsize
	}
	return st.Bavail * uint64(unit), true, nil
}

// Need returns an error of the stage when the share has fewer than so many
// bytes free for what ("the kernel tree"). It is for before that work begins.
func (s *Share) Need(name stage.Name, bytes uint64, what string) error {
	free, known, err := s.Free()
	if err != nil {
		return stage.Wrap(name, err, "the share's free space cannot be read", "check its mount")
	}
	if !known || free >= bytes {
		return nil
	}
	return stage.New(name, fmt.Sprintf("the share %s has %s free and %s needs %s", s.dir, units.Bytes(free), what, units.Bytes(bytes)),
		fmt.Sprintf("free space there (%s may be deleted when nothing runs), or mount a larger share", s.Private()))
}
