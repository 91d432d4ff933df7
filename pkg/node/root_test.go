package node

import (
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

// root is a host root with these files.
func root(t *testing.T, files map[string]string) *kernel.Root {
	t.Helper()
	r, err := kernel.OpenRoot(testkit.WriteTree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return r
}
