package job

import (
	"compress/gzip"
	"context"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/registry"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// Host says which kernel, and which host, a command is about.
type Host struct {
	// Root is the host root: a folder, or a tar that [Capture] wrote. Empty
	// takes /host where it is mounted, else /.
	Root string
	// Image is the file or URL of a kernel image, whose kernel then is the
	// target, whatever kernel the host root runs.
	Image string
	// ImageSHA256 is what the image's digest must be, in hexadecimal; empty
	// compares nothing.
	ImageSHA256 string
	// ImageSHA512 is the same for those who publish that, as Flatcar's .DIGESTS do.
	ImageSHA512 string
	// Offline refuses to fetch an image.
	Offline bool
	// Pause is how long to wait before the second try of what failed for the
	// moment at fetching one; zero means a second.
	Pause time.Duration

	// Capture is the tag of a capture in a registry, which a node has pushed there, in the
	// place of Root.
	Capture string

	// Flatcar is the release of Flatcar, or the channel, that the host runs, as
	// flatcar.Parse takes it, in the place of Root and Image.
	Flatcar string
	// FlatcarServer is where releases are published; empty is Flatcar's own.
	FlatcarServer string

	images imageCache
	// captures is where Capture is.
	captures registry.Options
}

const hostRootHint = "name a folder that holds a host's files, or a tar that `builder capture` wrote, with --host-root"

// cutHint is for a tar that is not whole, as `builder capture` leaves one on
// its standard output where it is interrupted.
const cutHint = "record the host again with `builder capture`, and let it finish: the tar is cut short"

// open makes the host root and the image's file available for as long as use
// runs. A captured tar is unpacked, and an image fetched, into a folder that
// is gone afterwards.
func (h Host) open(ctx context.Context, use func(root *kernel.Root, imageFile string) error) error {
	if err := h.check(); err != nil {
		return err
	}
	scratch := ""
	if h.isArchive() || h.Image != "" || h.Capture != "" || h.Flatcar != "" {
		var err error
		if scratch, err = os.MkdirTemp("", "host-"); err != nil {
			return stage.Wrap(stage.Detect, err, "there is no space to look at the host", "make the container's /tmp writable")
		}
		defer os.RemoveAll(scratch)
	}
	if h.Capture != "" {
		h.Root = filepath.Join(scratch, "capture.tar")
		if err := registry.PullCapture(ctx, h.captures, h.Capture, h.Root); err != nil {
			return err
		}
	}
	if h.Flatcar != "" {
		var err error
		if h, err = h.ofFlatcar(ctx, filepath.Join(scratch, "flatcar")); err != nil {
			return err
		}
	}
	root, err := h.openRoot(ctx, scratch)
	if err != nil {
		hint := hostRootHint
		if errors.Is(err, io.ErrUnexpectedEOF) {
			hint = cutHint
		}
		return stage.Wrap(stage.Detect, err, "the host root cannot be opened", hint)
	}
	imageFile, err := h.openImage(ctx, filepath.Join(scratch, "image"))
	if err != nil {
		return err
	}
	return use(root, imageFile)
}

func (h Host) isArchive() bool {
	info, err := os.Stat(h.Root)
	return err == nil && !info.IsDir()
}

func (h Host) openRoot(ctx context.Context, scratch string) (*kernel.Root, error) {
	if !h.isArchive() {
		return kernel.FindRoot(h.Root, kernel.HostMount)
	}
	return kernel.OpenRootArchive(ctx, h.Root, scratch)
}

// detect returns the target. What it reads of the host's module files is kept
// in the folder cache; empty keeps nothing. Needs says which are read, nil all.
func (h Host) detect(ctx context.Context, cache string, needs func(file string) bool) (t kernel.Target, err error) {
	err = h.open(ctx, func(root *kernel.Root, imageFile string) error {
		t, err = kernel.Detect(ctx, root, kernel.DetectOptions{Image: imageFile, Cache: cache, Needs: needs})
		return err
	})
	return t, err
}

// detectAll reads what [cuda.MayUse] leaves out, where modules turned out to use it,
// as err says; found is false for any other error.
func (h Host) detectAll(ctx context.Context, cache string, err error) (t kernel.Target, found bool, _ error) {
	var unread *modules.UnreadError
	if !errors.As(err, &unread) {
		return kernel.Target{}, false, nil
	}
	zerolog.Ctx(ctx).Warn().Strs("modules", unread.Modules).
		Msg("the driver uses modules of the kernel's own that it was not thought to need; reading what all of them export")
	t, err = h.detect(ctx, cache, nil)
	return t, true, err
}

// Looks says whether builds look for a device on a host, so that a capture has to have it:
// a GPU of NVIDIA's, or an NVSwitch.
func Looks(d kernel.PCIDevice) bool { return cuda.IsGPU(d) || fabric.IsSwitch(d) }

// Capture writes what builds and checks read of a host root to w, as a tar.
func Capture(ctx context.Context, hostRoot string, w io.Writer) error {
	return Host{Root: hostRoot}.capture(ctx, w)
}

func (h Host) capture(ctx context.Context, w io.Writer) error {
	return h.open(ctx, func(root *kernel.Root, imageFile string) error {
		return kernel.Capture(ctx, root, w, kernel.CaptureOptions{Image: imageFile, Keep: Looks})
	})
}

// CaptureFile is [Capture] into a file, which appears when it is whole, and is
// gzip'ed where its name ends in .gz.
func CaptureFile(ctx context.Context, hostRoot, path string) error {
	return writeWhole(stage.Detect, "the capture", path, func(w io.Writer) error {
		return captureTo(ctx, hostRoot, w, strings.HasSuffix(path, ".gz"))
	})
}

// writeWhole has a file be written that appears when it is whole. What it is is for an
// error, which is of the stage.
func writeWhole(of stage.Name, what, path string, write func(io.Writer) error) error {
	temp, err := os.CreateTemp(filepath.Dir(path), "."+filepath.Base(path)+".tmp-*")
	if err != nil {
		return stage.Wrap(of, err, what+" cannot be written", "name a file in a folder that is writable")
	}
	defer os.Remove(temp.Name())
	defer temp.Close()
	if err := write(temp); err != nil {
		return err
	}
	err = errors.Join(temp.Chmod(0o644), temp.Sync(), temp.Close())
	if err == nil {
		err = os.Rename(temp.Name(), path)
	}
	if err == nil {
		err = atomicfile.SyncDir(filepath.Dir(path))
	}
	return stage.Wrap(of, err, what+" cannot be written", "free some space there")
}

func captureTo(ctx context.Context, hostRoot string, w io.Writer, compress bool) error {
	if !compress {
		return Capture(ctx, hostRoot, w)
	}
	packed := gzip.NewWriter(w)
	return errors.Join(Capture(ctx, hostRoot, packed), packed.Close())
}

// Verify holds a published folder against its manifest and against a host or a
// kernel. The modules' signatures are verified where the file of a certificate is
// named, and the manifest's where those of certificates are that are trusted, or
// folders of them ([signature.ReadTrust]). A folder with a driver's user-space side is
// held against its manifest only.
func Verify(ctx context.Context, dir string, h Host, certificate string, trusted []string) ([]modules.Check, error) {
	if _, err := beneath.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
		return nil, stage.New(stage.Usage, fmt.Sprintf("there is no %s to verify", dir), "name what a build prints, or the folder that it is in: SHARE/modules/REL/VER")
	}
	if filepath.Base(dir) == modules.ManifestFile { // as a build prints it
		dir = filepath.Dir(dir)
	}
	if found, err := publish.Find(dir); err == nil {
		dir = found // else it is told what is wrong with it
	}
	var trust publish.Trust
	if len(trusted) > 0 {
		t, err := signature.ReadTrust(trusted, dir)
		if errors.As(err, new(*publish.UntrustedError)) {
			return nil, stage.Wrap(stage.Check, err, "nobody is trusted", "name valid certificates with --trust")
		}
		if err != nil {
			return nil, err
		}
		trust = t.Verify
	}
	if checks, found := verifyUserSpace(dir, trust); found {
		return checks, nil
	}
	var cert *x509.Certificate
	if certificate != "" {
		var err error
		if cert, err = signature.ReadCertificate(certificate); err != nil {
			return nil, err
		}
	}
	t, err := h.detect(ctx, "", cuda.MayUse)
	if err != nil {
		return nil, err
	}
	checks, err := modules.Verify(dir, t, cert, trust)
	if all, found, failed := h.detectAll(ctx, "", err); failed != nil {
		return nil, failed
	} else if found {
		return modules.Verify(dir, all, cert, trust)
	}
	return checks, err
}

// verifyUserSpace holds a driver's user-space side against its manifest. It
// fits every kernel; found is false where the folder holds none.
func verifyUserSpace(dir string, trust publish.Trust) (checks []modules.Check, found bool) {
	_, findings, err := userspace.Verify(dir, trust)
	checks, untrusted := modules.CheckTrust(trust, err)
	if untrusted {
		_, findings, err = userspace.Verify(dir, nil)
	}
	if err != nil {
		return nil, false
	}
	for _, f := range findings {
		c := modules.Check{Name: "intact", Kind: modules.PolicyCheck, File: f.Path, Verdict: modules.Passed}
		if f.Problem != "" {
			c.Verdict, c.Detail = modules.Failed, f.Problem
		}
		checks = append(checks, c)
	}
	return checks, true
}
