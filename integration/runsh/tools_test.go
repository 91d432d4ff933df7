//go:build integration

package runsh

import (
	"context"
	"os"
	"sync"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
)

// tools makes the image whose programs run.sh and the tests run, once.
var tools = sync.OnceValue(func() error {
	// Not a test's context: the image is for all of them.
	ctx := context.Background()
	l, err := lab.Open(ctx, os.Stderr)
	if err != nil {
		return err
	}
	return l.ToolsImage(ctx)
})

// toolsImage returns the lab's image: curl, shasum, makeself, shellcheck,
// vagrant, and a shell.
func toolsImage(t *testing.T) string {
	t.Helper()
	if err := tools(); err != nil {
		t.Fatal(err)
	}
	return lab.Image
}
