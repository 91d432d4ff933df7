package share

import (
	"fmt"
	"math"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/pkg/stage"
)

// Space is what a disk has or work needs: bytes, and files, which a file system
// may run out of first.
type Space struct {
	Bytes, Files uint64
}

// Plus is the sum.
func (s Space) Plus(other Space) Space { return Space{s.Bytes + other.Bytes, s.Files + other.Files} }

// Times is the space n/d times.
func (s Space) Times(n, d uint64) Space { return Space{s.Bytes * n / d, s.Files * n / d} }

// Unknown is a part of the free space that the file system does not tell, as
// some host-shared ones do not.
const Unknown = math.MaxUint64

// Free is what a user may still write to the share, in parts [Unknown].
func (s *Share) Free() (Space, error) {
	var st unix.Statfs_t
	if err := s.statfs(s.dir, &st); err != nil {
		return Space{}, fmt.Errorf("free space of %s: %w", s.dir, err)
	}
	free := Space{Unknown, Unknown}
	if st.Blocks > 0 {
		// Frsize is the unit of the counts; old file systems leave it 0.
		unit := st.Frsize
		if unit <= 0 {
			unit = st.Bsize
		}
		free.Bytes = st.Bavail * uint64(unit)
	}
	if st.Files > 0 { // btrfs and others make their inodes as they need them
		free.Files = st.Ffree
	}
	return free, nil
}

// Need returns an error of the stage when the share has less than that free for
// what ("the kernel tree"). It is for before that work begins.
func (s *Share) Need(name stage.Name, need Space, what string) error {
	free, err := s.Free()
	if err != nil {
		return stage.Wrap(name, err, "the share's free space cannot be read", "check its mount")
	}
	const hint = "free space there (`builder prune` shows what can be made again), or mount a larger share"
	switch {
	case free.Bytes < need.Bytes:
		return stage.OfKind(stage.NoSpace, stage.New(name, fmt.Sprintf("the share %s has %s free and %s needs %s", s.dir, progress.Size(free.Bytes), what, progress.Size(need.Bytes)), hint))
	case free.Files < need.Files:
		return stage.OfKind(stage.NoSpace, stage.New(name, fmt.Sprintf("the file system of the share %s takes %d more files and %s needs %d", s.dir, free.Files, what, need.Files), hint))
	}
	return nil
}
