// Package devicestest has the parts of a host's proc and sys that tell about
// NVIDIA's driver, recorded on a machine with a GPU, for tests. They are one
// text rather than a folder, since Go modules have no file names with colons.
package devicestest

import (
	_ "embed"
	"maps"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

//go:embed h100.txt
var h100 string

// H100 is the recorded machine's files by their names in its root.
func H100() map[string]string {
	files := map[string]string{}
	for _, part := range strings.Split(h100, "\n-- ")[1:] {
		name, text, _ := strings.Cut(part, " --\n")
		files[name] = strings.TrimSuffix(text, "\n") + "\n"
	}
	return files
}

// Root is a host with the files of a recorded one and the changes, in which an
// empty text takes a file away.
func Root(t testing.TB, files map[string]string, changes map[string]string) *kernel.Root {
	t.Helper()
	all := maps.Clone(files)
	if all == nil {
		all = map[string]string{}
	}
	maps.Copy(all, changes)
	maps.DeleteFunc(all, func(_, text string) bool { return text == "" })
	root, err := kernel.OpenRoot(testkit.WriteTree(t, all))
	if err != nil {
		t.Fatal(err)
	}
	return root
}
