package hosttree

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Headers is a digest of the tree's headers: names and contents. A distribution may
// update a tree, and a user a header, and its name stays as it was. Ten thousand headers
// take a second.
func Headers(tree kernel.HostTree) (string, error) {
	sum := sha256.New()
	for _, half := range slices.Compact([]string{tree.Build, tree.Source}) {
		for _, pattern := range []string{"include", "arch/*/include"} {
			dirs, err := filepath.Glob(filepath.Join(half, pattern))
			if err != nil {
				return "", err
			}
			for _, dir := range dirs {
				if err := digestHeaders(sum, half, dir); err != nil {
					return "", err
				}
			}
		}
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}

func digestHeaders(sum io.Writer, half, dir string) error {
	return filepath.WalkDir(dir+"/.", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || !strings.HasSuffix(path, ".h") {
			return err
		}
		content, err := os.ReadFile(path)
		if err != nil && !errors.Is(err, fs.ErrNotExist) { // a link that leads nowhere
			return err
		}
		fmt.Fprintf(sum, "%s %d\n", strings.TrimPrefix(path, half), len(content))
		_, err = sum.Write(content)
		return err
	})
}
