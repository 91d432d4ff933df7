package modules

import (
	"errors"
	"io/fs"
	"path/filepath"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// Superseded lists, sorted, the paths of what [Publish] left in the share and
// no link names: results that others replaced, and links that a crash left half
// made. A link counts where it is beside them or in SHARE/modules.
func Superseded(s *share.Share) ([]string, error) {
	releases, err := beneath.ReadDir(s.Modules())
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	links := publish.Targets(s.Modules(), releases)
	var list []string
	for _, release := range releases {
		if !release.IsDir() {
			continue // nor is a link one
		}
		dir := s.Release(release.Name())
		names, err := publish.Unnamed(dir, links...)
		if err != nil {
			return nil, err
		}
		for _, name := range names {
			list = append(list, filepath.Join(dir, name))
		}
	}
	return list, nil
}
