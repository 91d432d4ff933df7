package registry

import (
	"path"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/share/publish"
)

// Kind is a kind of published folder, and the layer that it is in an image.
type Kind struct {
	// Name is what the layer is known by, as the value of the annotation [LayerAnnotation].
	Name string
	// Index is the name of the file that lists the others, of at most MaxIndex bytes.
	Index    string
	MaxIndex int64
	// Contents are the files and links that an index lists, each below the folder.
	Contents func(index []byte) ([]publish.File, error)
	// At is the folder's path in the image: "opt/share/driver/580.126.09".
	At string
	// Beside is what else is in the layer for an index, for others to find; nil is nothing.
	// A pull passes it over.
	Beside func(index []byte) ([]Extra, error)
}

// Extra is a file of a layer that is not in its folder.
type Extra struct {
	// At is its path in the image.
	At string
	// Of is the name of a file of the folder that it is, too, by a hard link; Target
	// where a symbolic link leads; and Text what is in any other.
	Of, Target string
	Text       []byte
}

// at is where a file of the folder is in the image.
func (k Kind) at(name string) string { return path.Join(k.At, name) }

// beside are the extras of an index, sorted by path.
func (k Kind) beside(index []byte) ([]Extra, error) {
	if k.Beside == nil {
		return nil, nil
	}
	list, err := k.Beside(index)
	slices.SortFunc(list, func(a, b Extra) int { return strings.Compare(a.At, b.At) })
	return list, err
}

// parents are the folders that a path is in, the outermost first.
func parents(name string) (list []string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		list = append([]string{dir}, list...)
	}
	return list
}
