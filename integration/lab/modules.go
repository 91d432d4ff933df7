package lab

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

//go:embed modules.go
var modulesSource string

// BuildImage builds the image under test from a checkout, with the builder that
// the users' Docker has. The arguments are its Dockerfile's, NAME=VALUE. Tests of
// two packages that want it at once have the one wait for what the other makes.
func (l *Lab) BuildImage(ctx context.Context, checkout, tag string, arguments ...string) error {
	unlock, err := l.lock(ctx, "image-under-test")
	if err != nil {
		return err
	}
	defer unlock()
	argv := []string{"build", "-t", tag}
	for _, argument := range arguments {
		argv = append(argv, "--build-arg", argument)
	}
	cmd := exec.CommandContext(ctx, "docker", append(argv, ".")...)
	cmd.Dir = checkout
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	out, err := cmd.CombinedOutput()
	switch {
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil:
		return fmt.Errorf("docker build: %w\n%s", err, out)
	}
	return nil
}

// Modules makes the driver's proprietary modules for a host, as the job
// publishes them, and returns the folder that they are in. The builder says
// which image does it and how it sees the host; it is given a share.
func (l *Lab) Modules(ctx context.Context, b Builder, driver Driver, host Host) (string, error) {
	return l.modules(ctx, driver, host, func(dir string) error {
		b.Share = filepath.Join(dir, "share")
		if err := os.Mkdir(b.Share, 0o755); err != nil {
			return err
		}
		b.Docker = append(b.Docker, "-v", driver.Package()+":/opt/share/cuda/"+filepath.Base(driver.Package())+":ro")
		b.Args = append(b.Args, "--module-type=proprietary")
		published, err := b.publish(ctx)
		if err == nil {
			err = copyModules(dir, published)
		}
		return errors.Join(err, os.RemoveAll(b.Share))
	})
}

// KeepModules keeps what a test had the job publish in a folder, so that
// Modules need not make it again.
func (l *Lab) KeepModules(ctx context.Context, driver Driver, host Host, published string) error {
	_, err := l.modules(ctx, driver, host, func(dir string) error { return copyModules(dir, published) })
	return err
}

func (l *Lab) modules(ctx context.Context, driver Driver, host Host, build func(dir string) error) (string, error) {
	recipe := modulesSource + filepath.Base(filepath.Dir(driver.Run)) + driver.Version + filepath.Base(host.Dir)
	for _, folder := range []string{"cmd", "internal", "pkg"} {
		digest, err := l.sourceDigest(folder)
		if err != nil {
			return "", err
		}
		recipe += digest
	}
	return l.part(ctx, "modules-"+host.Release, recipe, build)
}

// publish runs the job and returns the folder that it published.
func (b Builder) publish(ctx context.Context) (string, error) {
	var stdout, stderr bytes.Buffer
	b.Stdout, b.Stderr = &stdout, &stderr
	code, err := b.Run(ctx)
	if err != nil {
		return "", err
	}
	if code != 0 {
		return "", fmt.Errorf("builder ended with exit code %d\n%s", code, tail(stderr.String(), 20))
	}
	manifest := strings.TrimPrefix(strings.TrimSpace(stdout.String()), "/opt/share/")
	return filepath.Dir(filepath.Join(b.Share, manifest)), nil
}

func copyModules(to, from string) error {
	files, err := filepath.Glob(filepath.Join(from, "*.ko"))
	if err != nil {
		return err
	}
	if len(files) == 0 {
		return fmt.Errorf("no modules in %s", from)
	}
	for _, file := range files {
		if err := CopyFile(file, filepath.Join(to, filepath.Base(file))); err != nil {
			return err
		}
	}
	return nil
}

// CopyFile gives a file that nobody will change another name, or copies it to
// another disk.
func CopyFile(from, to string) error {
	if os.Link(from, to) == nil {
		return nil
	}
	content, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, content, 0o644)
}
