// Command demo runs the whole job as a user does, on real parts that it makes
// first: `make demo`. It needs Docker and Go, and no GPU, no CoreOS and no
// internet beyond Debian's packages and Go's modules. Given the source of a kernel of
// CoreOS's time, `make demo TREE=DIR`, the host is one that runs that kernel.
package main

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/k8sp/cuda/integration/lab"
)

func main() {
	tree := flag.String("tree", "", "the `folder` of a kernel's source of 4.9 to 5.4, whose kernel is the host's")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Stdout, *tree); err != nil {
		fmt.Fprintln(os.Stderr, "demo:", err)
		if errors.Is(err, context.Canceled) {
			os.Exit(130)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, out io.Writer, tree string) error {
	started := time.Now()
	l, err := lab.Open(ctx, out)
	if err != nil {
		return err
	}
	parts, err := l.Make(ctx)
	if err != nil {
		return err
	}
	nvidia, answered, err := l.NVIDIA(ctx)
	if err != nil {
		return err
	}
	if answered {
		parts.Driver = nvidia
	}
	if err := placeDriver(parts.Driver, l.Checkout); err != nil {
		return err
	}
	if tree != "" {
		made, err := l.Tree(ctx, tree, "")
		if err != nil {
			return err
		}
		parts.Kernel, parts.Host = made.Kernel, made.Host
	}
	server, err := l.Serve(ctx, parts.Kernel)
	if err != nil {
		return err
	}
	defer server.Close()
	made := time.Since(started)

	d := demo{out: out, share: l.Checkout, parts: parts, server: server, image: lab.CUDAImage}
	if tree != "" {
		d.image, d.old = lab.OldImage, true
	}
	fmt.Fprintf(out, "\nWhat a user types:\n\n    docker build -t %s .\n    docker run -v \"$PWD\":/opt/share %[1]s\n", d.image)
	if err := d.buildImage(ctx, l); err != nil {
		return err
	}
	disk := watchDisk(l.Checkout)
	manifest, err := d.runJob(ctx)
	peak := disk.stop()
	if err != nil {
		return err
	}
	if err := printModules(out, manifest); err != nil {
		return err
	}
	d.printHonesty()
	fmt.Fprintf(out, "\nParts %.0f s, image %.0f s, job %.0f s; the share held %.2f GB at its fullest.\n\n",
		made.Seconds(), d.imageTime.Seconds(), d.jobTime.Seconds(), float64(peak)/1e9)
	fmt.Fprintln(out, manifest)
	return nil
}

// placeDriver puts the driver's .run where run.sh leaves it.
func placeDriver(driver lab.Driver, share string) error {
	folder := filepath.Join(share, "cuda")
	path := filepath.Join(folder, filepath.Base(driver.Run))
	if err := os.MkdirAll(folder, 0o755); err != nil {
		return err
	}
	from, err := os.Open(driver.Run)
	if err != nil {
		return err
	}
	defer from.Close()
	to, err := os.CreateTemp(folder, ".demo-")
	if err != nil {
		return err
	}
	defer os.Remove(to.Name()) // gone by then, if all went well
	_, err = io.Copy(to, from)
	return errors.Join(err, to.Chmod(0o755), to.Close(), os.Rename(to.Name(), path))
}

type demo struct {
	image              string
	old                bool // the kernel is a tree's
	out                io.Writer
	share              string
	parts              lab.Parts
	server             *lab.Server
	imageTime, jobTime time.Duration
}

// show prints a command as it is run.
func (d *demo) show(argv []string) {
	fmt.Fprintf(d.out, "\n$ %s\n", strings.ReplaceAll(strings.Join(argv, " "), d.share, `"$PWD"`))
}

func (d *demo) buildImage(ctx context.Context, l *lab.Lab) error {
	started := time.Now()
	if d.old {
		d.show([]string{"docker", "build", "-t", d.image, "--build-arg", "BASE=debian:bullseye-slim", "--build-arg", "COMPILERS='10 9'", "."})
		if err := l.MakeOldImage(ctx); err != nil {
			return err
		}
	} else {
		d.show([]string{"docker", "build", "-t", d.image, "."})
		if err := l.BuildImage(ctx, d.share, d.image); err != nil {
			return err
		}
	}
	d.imageTime = time.Since(started)
	fmt.Fprintf(d.out, "built in %.1f s\n", d.imageTime.Seconds())
	return nil
}

// runJob runs the image and returns the manifest's path on this machine.
func (d *demo) runJob(ctx context.Context) (string, error) {
	started := time.Now()
	var stdout bytes.Buffer
	builder := lab.Builder{
		Share: d.share, HostRoot: d.parts.Host.Dir, Image: d.image,
		Name: lab.ContainerName("demo"),
		Environ: append(d.server.Environ(),
			"BUILDER_LOG_FORMAT=console",
			// The share may hold the user's own, newer ones.
			"BUILDER_DRIVER_VERSION="+d.parts.Driver.Version),
		Stdout: &stdout, Stderr: d.out,
	}
	d.show(builder.Argv())
	exit, err := builder.Run(ctx)
	if err != nil {
		return "", err
	}
	if exit != 0 {
		return "", fmt.Errorf("builder ended with exit code %d", exit)
	}
	d.jobTime = time.Since(started)
	inside := strings.TrimSpace(stdout.String())
	path, ok := strings.CutPrefix(inside, "/opt/share/")
	if !ok {
		return "", fmt.Errorf("builder printed %q, which is no path in the share", inside)
	}
	return filepath.Join(d.share, path), nil
}

func (d *demo) printHonesty() {
	driver := fmt.Sprintf("NVIDIA's %s sources and core objects, from Debian's nvidia-kernel-source,\n             with Debian's patches for newer kernels and none of ours, its firmware and a few of its libraries, packed in NVIDIA's layout", d.parts.Driver.Version)
	installer := "\n  nvidia-installer   the tests' own, which honours NVIDIA's documented command line"
	if d.parts.Driver.Real {
		driver, installer = "NVIDIA's own package "+filepath.Base(d.parts.Driver.Run), ""
	}
	if d.old {
		fmt.Fprintf(d.out, `
Real:
  kernel     Linux %s, built of the tree that was given, booted once in QEMU, and what it said then
  driver     %s
  build      the image, git, kbuild and every compile
Stood in:
  host       its kernel is of the lab's small config, and its os-release is CoreOS's
  GitHub     a local server with the real git http-backend and the API's answers%s
`, d.parts.Host.Release, driver, installer)
		return
	}
	fmt.Fprintf(d.out, `
Real:
  kernel     Linux %s as Debian ships it (kernel.org's, with Debian's patches), its config,
             and the symbols of the running kernel, recorded in QEMU
  driver     %s
  build      the image, git, kbuild and every compile
Stood in:
  host       no CoreOS runs Linux 6.1: a recorded root that says it is %s,
             with Debian's config edited where CoreOS differs (see README in %s)
  GitHub     a local server with the real git http-backend and the API's answers%s
`, d.parts.Kernel.Version, driver, d.parts.Host.Release, d.parts.Host.Dir, installer)
}
