package job

import (
	"compress/gzip"
	"context"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"strings"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/stage"
)

const hostRootHint = "name a folder that holds a host's files, or a tar that `builder capture` wrote, with --host-root"

// withRoot opens the host root that a user named, or the one that is there,
// for as long as use runs. A captured tar is unpacked into a folder that is
// gone afterwards.
func withRoot(ctx context.Context, hostRoot string, use func(*kernel.Root) error) error {
	info, err := os.Stat(hostRoot)
	if hostRoot == "" || err != nil || info.IsDir() {
		root, err := kernel.FindRoot(hostRoot, kernel.HostMount)
		if err != nil {
			return stage.Wrap(stage.Detect, err, "the host root cannot be opened", hostRootHint)
		}
		return use(root)
	}
	scratch, err := os.MkdirTemp("", "host-root-")
	if err != nil {
		return stage.Wrap(stage.Detect, err, "a captured host cannot be unpacked", "make the container's /tmp writable, or unpack the tar yourself")
	}
	defer os.RemoveAll(scratch)
	root, err := kernel.OpenRootArchive(ctx, hostRoot, scratch)
	if err != nil {
		return stage.Wrap(stage.Detect, err, "the host root cannot be opened", hostRootHint)
	}
	return use(root)
}

// detect returns the target that a host root describes.
func detect(ctx context.Context, hostRoot string) (t kernel.Target, err error) {
	err = withRoot(ctx, hostRoot, func(root *kernel.Root) error {
		t, err = kernel.Detect(ctx, root, kernel.DetectOptions{})
		return err
	})
	return t, err
}

// detectBuildable is detect for a build, which this image must have a compiler
// for.
func detectBuildable(ctx context.Context, hostRoot string) (kernel.Target, error) {
	t, err := detect(ctx, hostRoot)
	if err != nil {
		return t, err
	}
	return t, kernel.CheckArch(t, runtime.GOARCH)
}

// Capture writes what builds and checks read of a host root to w, as a tar.
func Capture(ctx context.Context, hostRoot string, w io.Writer) error {
	return withRoot(ctx, hostRoot, func(root *kernel.Root) error {
		return kernel.Capture(ctx, root, w)
	})
}

// CaptureFile is [Capture] into a file, which appears when it is whole, and is
// gzip'ed where its name ends in .gz.
func CaptureFile(ctx context.Context, hostRoot, path string) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return stage.Wrap(stage.Detect, err, "the capture cannot be written", "name a file in a folder that is writable")
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if err := captureTo(ctx, hostRoot, temp, strings.HasSuffix(path, ".gz")); err != nil {
		return err
	}
	err = errors.Join(temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(path))
	}
	if err != nil {
		return stage.Wrap(stage.Detect, err, "the capture cannot be written", "free some space there")
	}
	return nil
}

func captureTo(ctx context.Context, hostRoot string, w io.Writer, compress bool) error {
	if !compress {
		return Capture(ctx, hostRoot, w)
	}
	packed := gzip.NewWriter(w)
	return errors.Join(Capture(ctx, hostRoot, packed), packed.Close())
}

// Verify holds a published folder against its manifest and against the host
// that hostRoot describes.
func Verify(ctx context.Context, dir, hostRoot string) ([]modules.Check, error) {
	t, err := detect(ctx, hostRoot)
	if err != nil {
		return nil, err
	}
	return modules.Verify(dir, t)
}
