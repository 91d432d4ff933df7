package lab

import (
	"archive/tar"
	"context"
	"crypto/sha256"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"runtime"
	"strings"
)

// Image is the lab's own: Debian with git, QEMU, makeself, shellcheck,
// vagrant and whatever else the parts and the tests run.
const Image = "k8sp-cuda-lab"

// SystemdImage is Debian with systemd: as much of a Flatcar host as its units
// and scripts are tested on.
const SystemdImage = "k8sp-cuda-systemd"

// RegistryImage is Debian with its docker-registry, which is the distribution project's, and
// cosign.
const RegistryImage = "k8sp-cuda-registry"

// CUDAImage is the one under test.
const CUDAImage = "cuda"

// GCC15Image is the one under test on Debian's next release, with the compiler that
// Flatcar's alpha builds its kernels with, as docs/kernels.md has it.
const GCC15Image = "cuda:gcc-15"

// OldImage is the one under test on Debian bullseye, for kernels before 5.10, as docs/kernels.md
// has it.
const OldImage = "cuda:bullseye"

// labelKey marks an image as the lab's, with a digest of its recipe. An image
// without it is the user's own or a registry's, and is taken as it is.
const labelKey = "com.github.k8sp.cuda.lab"

//go:embed scripts/lab.Dockerfile
var labDockerfile string

//go:embed scripts/systemd.Dockerfile
var systemdDockerfile string

//go:embed scripts/registry.Dockerfile
var registryDockerfile string

//go:embed scripts/golang.Dockerfile
var golangDockerfile string

// BaseImages makes the images that the repository's Dockerfile starts from,
// where Docker has none and no registry answers.
func (l *Lab) BaseImages(ctx context.Context) error {
	if err := l.debianImage(ctx, "trixie"); err != nil {
		return err
	}
	version, err := goEnv(ctx, "GOVERSION")
	if err != nil {
		return err
	}
	recipe := golangDockerfile + version
	return l.image(ctx, "golang:1.26-trixie", recipe, true, func(label string) error {
		return buildGolang(ctx, "golang:1.26-trixie", label)
	})
}

// MakeCUDAImage makes the image named [CUDAImage] from the checkout, and what it
// starts from.
func (l *Lab) MakeCUDAImage(ctx context.Context) error {
	if err := l.BaseImages(ctx); err != nil {
		return err
	}
	return l.BuildImage(ctx, l.Checkout, CUDAImage)
}

// MakeGCC15Image makes the image named [GCC15Image] likewise.
func (l *Lab) MakeGCC15Image(ctx context.Context) error {
	if err := l.BaseImages(ctx); err != nil {
		return err
	}
	base, err := l.DebianImage(ctx, "forky")
	if err != nil {
		return err
	}
	return l.BuildImage(ctx, l.Checkout, GCC15Image, "BASE="+base, "COMPILERS=15")
}

// MakeOldImage makes the image named [OldImage] likewise.
func (l *Lab) MakeOldImage(ctx context.Context) error {
	if err := l.BaseImages(ctx); err != nil {
		return err
	}
	base, err := l.DebianImage(ctx, "bullseye")
	if err != nil {
		return err
	}
	return l.BuildImage(ctx, l.Checkout, OldImage, "BASE="+base, "COMPILERS=10 9")
}

// DebianImage makes the image debian:SUITE-slim, where Docker has none and no
// registry answers, and returns its name.
func (l *Lab) DebianImage(ctx context.Context, suite string) (string, error) {
	return "debian:" + suite + "-slim", l.debianImage(ctx, suite)
}

func (l *Lab) debianImage(ctx context.Context, suite string) error {
	image := "debian:" + suite + "-slim"
	return l.image(ctx, image, debootstrapScript, true, func(label string) error {
		return l.debootstrap(ctx, suite, image, label)
	})
}

// ToolsImage makes the image named [Image].
func (l *Lab) ToolsImage(ctx context.Context) error {
	return l.debianWith(ctx, "bookworm", Image, labDockerfile)
}

// MakeSystemdImage makes the image named [SystemdImage].
func (l *Lab) MakeSystemdImage(ctx context.Context) error {
	return l.debianWith(ctx, "trixie", SystemdImage, systemdDockerfile)
}

// MakeRegistryImage makes the image named [RegistryImage].
func (l *Lab) MakeRegistryImage(ctx context.Context) error {
	return l.debianWith(ctx, "trixie", RegistryImage, registryDockerfile)
}

// debianWith makes an image of a Debian release and further lines of a
// Dockerfile.
func (l *Lab) debianWith(ctx context.Context, suite, image, recipe string) error {
	base, err := l.DebianImage(ctx, suite)
	if err != nil {
		return err
	}
	return l.imageFrom(ctx, base, image, recipe)
}

// imageFrom makes an image of another and further lines of a Dockerfile.
func (l *Lab) imageFrom(ctx context.Context, base, image, recipe string) error {
	return l.image(ctx, image, recipe, false, func(label string) error {
		context := strings.NewReader("FROM " + base + "\n" + recipe)
		_, err := docker(ctx, context, "build", "--label", label, "--tag", image, "-")
		return err
	})
}

// image makes an image that is not there, or that the lab made by an older
// recipe. A registry's own is taken where there is one.
func (l *Lab) image(ctx context.Context, image, recipe string, published bool, build func(label string) error) error {
	unlock, err := l.lock(ctx, strings.NewReplacer(":", "-", "/", "-").Replace(image))
	if err != nil {
		return err
	}
	defer unlock()
	labels, err := docker(ctx, nil, "image", "inspect", "--format", `{{index .Config.Labels "`+labelKey+`"}}`, image)
	if err == nil {
		if have := strings.TrimSpace(labels); have == digest(recipe) || (have == "" && published) {
			return nil
		}
	} else if published {
		if _, err := docker(ctx, nil, "pull", image); err == nil {
			l.say("lab: pulled %s", image)
			return nil
		}
	}
	if ctx.Err() != nil {
		return ctx.Err()
	}
	return l.step("image "+image, func() error { return build(labelKey + "=" + digest(recipe)) })
}

// buildGolang makes golang:VERSION of this machine's own Go.
func buildGolang(ctx context.Context, image, label string) error {
	if runtime.GOOS != "linux" {
		return fmt.Errorf("no registry answers for %s, and this machine's Go is for %s", image, runtime.GOOS)
	}
	root, err := goEnv(ctx, "GOROOT")
	if err != nil {
		return err
	}
	certificates, err := systemCertificates()
	if err != nil {
		return err
	}
	dockerfile := golangDockerfile
	// A machine that has its own module proxy needs it in its containers too.
	for _, name := range []string{"GOPROXY", "GOSUMDB"} {
		value, err := goEnv(ctx, name)
		if err != nil {
			return err
		}
		dockerfile += fmt.Sprintf("ENV %s=%q\n", name, value)
	}
	r, w := io.Pipe()
	go func() { w.CloseWithError(golangContext(w, root, dockerfile, certificates)) }()
	_, err = docker(ctx, r, "build", "--label", label, "--tag", image, "-")
	return errors.Join(err, r.Close())
}

// golangContext writes the tar that `docker build -` reads.
func golangContext(w io.Writer, root, dockerfile string, certificates []byte) error {
	out := tar.NewWriter(w)
	for name, content := range map[string][]byte{"Dockerfile": []byte(dockerfile), "ca-certificates.crt": certificates} {
		if err := out.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: int64(len(content))}); err != nil {
			return err
		}
		if _, err := out.Write(content); err != nil {
			return err
		}
	}
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(root, path)
		if err != nil {
			return err
		}
		if entry.IsDir() && (name == "test" || name == "api" || name == "doc") {
			return fs.SkipDir // half of the files, for Go's own developers
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		return addFile(out, path, "go/"+name, entry)
	})
	return errors.Join(err, out.Close())
}

func addFile(out *tar.Writer, path, name string, entry fs.DirEntry) error {
	info, err := entry.Info()
	if err != nil {
		return err
	}
	file, err := os.Open(path)
	if err != nil {
		return err
	}
	defer file.Close()
	header := &tar.Header{Name: name, Mode: int64(info.Mode().Perm()), Size: info.Size()}
	if err := out.WriteHeader(header); err != nil {
		return err
	}
	_, err = io.Copy(out, file)
	return err
}

// systemCertificates are the authorities that this machine trusts. A company's
// proxy may have one of its own, which its containers then need as well.
func systemCertificates() ([]byte, error) {
	for _, name := range []string{os.Getenv("SSL_CERT_FILE"), "/etc/ssl/certs/ca-certificates.crt", "/etc/pki/tls/certs/ca-bundle.crt"} {
		if content, err := os.ReadFile(name); err == nil {
			return content, nil
		}
	}
	return nil, errors.New("this machine has no list of certificate authorities: install ca-certificates")
}

// sourceDigest is a digest of the Go sources below a folder of the checkout,
// for recipes that run a program of ours.
func (l *Lab) sourceDigest(folder string) (string, error) {
	sum := sha256.New()
	err := fs.WalkDir(os.DirFS(filepath.Join(l.Checkout, folder)), ".", func(path string, entry fs.DirEntry, err error) error {
		if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return err
		}
		content, err := os.ReadFile(filepath.Join(l.Checkout, folder, path))
		fmt.Fprintf(sum, "%s %d\n%s", path, len(content), content)
		return err
	})
	return fmt.Sprintf("%x", sum.Sum(nil)), err
}
