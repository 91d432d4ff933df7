package partial

import (
	"fmt"
	"slices"
	"strings"
)

// FoldsError is for files that are needed, on a file system that cannot hold
// them both.
type FoldsError struct{ One, Other string }

func (e *FoldsError) Error() string {
	return fmt.Sprintf("the file system does not tell upper case from lower, and takes %s for %s", e.One, e.Other)
}

// leaveOut takes the wish for those files back that a file system which folds
// case takes for one another, all of each such group, and returns their paths.
// It is an error unless all of them may be spared. Folders that differ in case
// only hold the files of both, so that only whole paths matter.
func leaveOut(files []*file, spare func(string) bool) ([]string, error) {
	groups := map[string][]*file{}
	for _, f := range files {
		if f.wanted {
			key := strings.ToLower(f.path)
			groups[key] = append(groups[key], f)
		}
	}
	var out []string
	for _, f := range files { // in their order, so that an error is the same each time
		group := groups[strings.ToLower(f.path)]
		if len(group) < 2 || f != group[0] {
			continue
		}
		for _, f := range group {
			if spare == nil || !spare(f.path) {
				return nil, &FoldsError{group[0].path, group[1].path}
			}
			f.wanted = false
			out = append(out, f.path)
		}
	}
	slices.Sort(out)
	return out, nil
}
