package lab

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync/atomic"
	"time"
)

// docker runs the docker client. What it prints is in the error if it fails.
func docker(ctx context.Context, stdin io.Reader, args ...string) (stdout string, err error) {
	var out, log bytes.Buffer
	cmd := exec.CommandContext(ctx, "docker", args...)
	cmd.Stdin, cmd.Stdout, cmd.Stderr = stdin, &out, &log
	// The images are built as users' older Docker does; its newer client
	// would print a notice about that.
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		if ctx.Err() != nil {
			return "", ctx.Err()
		}
		return "", fmt.Errorf("docker %s: %w\n%s", args[0], err, tail(out.String()+log.String(), 20))
	}
	return out.String(), nil
}

func tail(text string, lines int) string {
	all := strings.Split(strings.TrimSpace(text), "\n")
	return strings.Join(all[max(0, len(all)-lines):], "\n")
}

// container is one run of a shell script in a container that is gone when the
// script ends or the context does.
type container struct {
	image string
	// script runs in /out, which is the machine's folder out; what it leaves
	// there belongs to whoever runs the lab.
	script string
	out    string
	// mounts are further folders and files, read-only: "/machine:/container".
	mounts []string
}

var containers atomic.Int64

func (c container) run(ctx context.Context) error {
	name := ContainerName("lab")
	args := []string{"run", "--rm", "--name", name, "--volume", c.out + ":/out", "--workdir", "/out", "--entrypoint", "bash"}
	for _, m := range c.mounts {
		args = append(args, "--volume", m+":ro")
	}
	own := fmt.Sprintf("trap 'chown -R %d:%d /out' EXIT\n", os.Getuid(), os.Getgid())
	stop := context.AfterFunc(ctx, func() { Kill(name) })
	defer stop()
	_, err := docker(ctx, nil, append(args, c.image, "-euo", "pipefail", "-c", own+c.script)...)
	return err
}

// ContainerName is a name for a container of this process, so that it can be
// killed by it: a docker client that ends leaves its container running.
func ContainerName(what string) string {
	return fmt.Sprintf("k8sp-cuda-%s-%d-%d", what, os.Getpid(), containers.Add(1))
}

// Kill ends a container; one that is gone already is no failure.
func Kill(name string) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	_, _ = docker(ctx, nil, "kill", name)
}

func goEnv(ctx context.Context, name string) (string, error) {
	out, err := exec.CommandContext(ctx, "go", "env", name).Output()
	if err != nil {
		return "", fmt.Errorf("go env %s: %w", name, err)
	}
	value := strings.TrimSpace(string(out))
	if value == "" {
		return "", fmt.Errorf("go env %s is empty: call this from inside the checkout", name)
	}
	return value, nil
}

// withOutput adds the end of what a program printed to its failure.
func withOutput(err error, out []byte) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("%w\n%s", err, tail(string(out), 20))
}
