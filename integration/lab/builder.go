package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os/exec"
	"syscall"
	"time"
)

// Builder is one run of the image cuda, as a user types it.
type Builder struct {
	// Share is mounted at /opt/share, and HostRoot, unless it is empty, at
	// /host for reading.
	Share, HostRoot string
	// At is where the share is mounted instead, and builder told so.
	At string
	// Name is the container's, so that a test can stop it; empty means one
	// that nobody else has.
	Name string
	// Environ are BUILDER_ variables, KEY=VALUE.
	Environ []string
	// Docker are further options of docker run, Args builder's own.
	Docker, Args []string
	// Image is [CUDAImage] where it is empty.
	Image string
	// Network is the container's; empty means the machine's own.
	Network string

	Stdout, Stderr io.Writer
}

// Argv is the command line. There is no --privileged in it: the job needs none.
func (b Builder) Argv() []string {
	argv := []string{"docker", "run", "--rm", "--name", b.Name, "--network", cmp.Or(b.Network, "host")}
	if b.Share != "" {
		argv = append(argv, "-v", b.Share+":"+b.Mounted())
	}
	if b.At != "" {
		argv = append(argv, "-e", "BUILDER_SHARE="+b.At)
	}
	if b.HostRoot != "" {
		argv = append(argv, "-v", b.HostRoot+":/host:ro")
	}
	for _, pair := range b.Environ {
		argv = append(argv, "-e", pair)
	}
	return append(append(append(argv, b.Docker...), b.image()), b.Args...)
}

// Mounted is where the container has the share.
func (b Builder) Mounted() string { return cmp.Or(b.At, "/opt/share") }

func (b Builder) image() string {
	return cmp.Or(b.Image, CUDAImage)
}

// Run runs it to its end and returns builder's exit code. When the context
// ends, the container is stopped as `docker stop` does, and waited for.
func (b Builder) Run(ctx context.Context) (exit int, err error) {
	if b.Name == "" {
		b.Name = ContainerName("builder")
	}
	argv := b.Argv()
	// The client gets no context: it stays to the end of its container.
	cmd := exec.Command(argv[0], argv[1:]...)
	cmd.Stdout, cmd.Stderr = b.Stdout, b.Stderr
	// Not in our process group, so that a Ctrl-C reaches builder once, by us.
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		return 0, fmt.Errorf("docker run: %w", err)
	}
	defer context.AfterFunc(ctx, func() { Stop(b.Name) })()
	err = cmd.Wait()
	if ctx.Err() != nil {
		return 0, ctx.Err()
	}
	var failed *exec.ExitError
	if errors.As(err, &failed) {
		return failed.ExitCode(), nil
	}
	return 0, err
}

// Stop is `docker stop`, with the time that builder promises to need.
func Stop(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	_, _ = docker(ctx, nil, "stop", "--time", "5", name)
}
