package registry

import (
	"path"
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
	// Places say where files of the folder are in the image, the first that fits.
	Places []Place
}

// Place is where a part of a folder is in an image: what begins with In in the folder,
// "" being all, begins with At in the image. Both end in a slash where they are not empty.
type Place struct{ In, At string }

// at is where a file of the folder is in the image.
func (k Kind) at(name string) string {
	for _, p := range k.Places {
		if rest, ok := strings.CutPrefix(name, p.In); ok {
			return p.At + rest
		}
	}
	return name
}

// parents are the folders that a path is in, the outermost first.
func parents(name string) (list []string) {
	for dir := path.Dir(name); dir != "."; dir = path.Dir(dir) {
		list = append([]string{dir}, list...)
	}
	return list
}
