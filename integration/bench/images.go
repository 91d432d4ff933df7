package main

import (
	"context"
	_ "embed"
	"fmt"
	"os/exec"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/integration/lab"
)

// Images of the checkout, with the compilers that the Dockerfile has and with
// one and two of them, and that of everything that is timed: the first and git.
const (
	fullImage = "k8sp-cuda-bench:full"
	oneImage  = "k8sp-cuda-bench:one"
	twoImage  = "k8sp-cuda-bench:two"
	gitImage  = "k8sp-cuda-bench:git"
	baseImage = "debian:trixie-slim"
)

// gitDockerfile adds git, in the version of the image's Debian, to what builder
// is measured in.
const gitDockerfile = "FROM " + fullImage + "\nRUN apt-get update && apt-get install --yes --no-install-recommends git\n"

// buildImages makes the images that things are timed in, and returns the
// version of git.
func buildImages(ctx context.Context, l *lab.Lab) (git string, err error) {
	if err := l.BuildImage(ctx, l.Checkout, fullImage); err != nil {
		return "", err
	}
	build := exec.CommandContext(ctx, "docker", "build", "-t", gitImage, "-")
	build.Stdin = strings.NewReader(gitDockerfile)
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("docker build: %w\n%s", err, out)
	}
	return dockerOutput(ctx, "run", "--rm", "--entrypoint", "git", gitImage, "--version")
}

// measureImages builds the image with one compiler and with two, and adds up
// what each has over its base, and the size of the binary. It is done once: it
// comes out the same every time.
func measureImages(ctx context.Context, l *lab.Lab, m measurements) error {
	base, err := imageBytes(ctx, baseImage)
	if err != nil {
		return err
	}
	for image, compilers := range map[string]string{oneImage: "14", twoImage: "14 13"} {
		if err := l.BuildImage(ctx, l.Checkout, image, "COMPILERS="+compilers); err != nil {
			return err
		}
	}
	sizes := map[string]float64{}
	for _, image := range []string{oneImage, twoImage, fullImage} {
		if sizes[image], err = imageBytes(ctx, image); err != nil {
			return err
		}
	}
	m.add(imageSize, sizes[oneImage]-base)
	m.add(compilerSize, sizes[twoImage]-sizes[oneImage])
	m.add(compilerSize, sizes[fullImage]-sizes[twoImage])
	text, err := dockerOutput(ctx, "run", "--rm", "--entrypoint", "stat", fullImage, "--format=%s", "/usr/local/bin/builder")
	if err != nil {
		return err
	}
	binary, err := strconv.ParseFloat(text, 64)
	if err != nil {
		return err
	}
	m.add(binarySize, binary)
	return nil
}

func imageBytes(ctx context.Context, image string) (float64, error) {
	text, err := dockerOutput(ctx, "image", "inspect", "--format", "{{.Size}}", image)
	if err != nil {
		return 0, err
	}
	return strconv.ParseFloat(text, 64)
}

func dockerOutput(ctx context.Context, args ...string) (string, error) {
	out, err := exec.CommandContext(ctx, "docker", args...).Output()
	if err != nil {
		return "", fmt.Errorf("docker %s: %w", strings.Join(args, " "), err)
	}
	return strings.TrimSpace(string(out)), nil
}
