package partial

import (
	"bytes"
	"fmt"

	"github.com/go-git/go-git/v5/plumbing"
)

// maxTags bounds a tag of a tag of a tag.
const maxTags = 16

// peel returns the commit that an object stands for, itself or what a tag or a
// tag of a tag is of, and that commit's tree.
func (s *objects) peel(hash plumbing.Hash) (commit, root plumbing.Hash, err error) {
	for range maxTags {
		o, err := s.get(hash)
		if err != nil {
			return commit, root, fmt.Errorf("object %s: %w", hash, err)
		}
		switch o.Type {
		case plumbing.CommitObject:
			root, err = header(o.Content, "tree")
			return hash, root, err
		case plumbing.TagObject:
			if hash, err = header(o.Content, "object"); err != nil {
				return commit, root, err
			}
		default:
			return commit, root, fmt.Errorf("%s is a %s and not a commit", hash, o.Type)
		}
	}
	return commit, root, fmt.Errorf("%s is a tag of more than %d tags", hash, maxTags)
}

// header is the object that the first line of a commit or a tag names.
func header(content []byte, key string) (plumbing.Hash, error) {
	line, _, _ := bytes.Cut(content, []byte("\n"))
	name, ok := bytes.CutPrefix(line, []byte(key+" "))
	hash := plumbing.NewHash(string(name))
	if !ok || hash.IsZero() {
		return hash, fmt.Errorf("it begins with %.60q instead of its %s", line, key)
	}
	return hash, nil
}
