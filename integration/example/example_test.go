//go:build integration

package example

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
)

// needBookworm is what the example's image starts from, and the stand-in for
// builder's.
var needBookworm = shared.Debian("bookworm")

// run runs a program and returns its exit status and what it wrote.
func run(t *testing.T, environ []string, args ...string) (status int, stdout, stderr string) {
	t.Helper()
	var out, log strings.Builder
	cmd := exec.CommandContext(t.Context(), args[0], args[1:]...)
	// The images are built as users' older Docker does.
	cmd.Env = append(append(os.Environ(), "DOCKER_BUILDKIT=0"), environ...)
	cmd.Stdout, cmd.Stderr = &out, &log
	err := cmd.Run()
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode(), out.String(), log.String()
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func write(t *testing.T, path, content string, mode os.FileMode) {
	t.Helper()
	must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	must(t, os.WriteFile(path, []byte(content), mode))
}

func read(t *testing.T, path string) string {
	t.Helper()
	content, err := os.ReadFile(path)
	must(t, err)
	return string(content)
}

// checkout is a share with the example and two toolkits in run.sh's layout, of
// which the older one must not be taken, nor the newer one's large rest.
func checkout(t *testing.T) string {
	t.Helper()
	dir := t.TempDir()
	must(t, os.CopyFS(filepath.Join(dir, "example"), os.DirFS("../../example")))
	for _, name := range []string{"build.sh", "entrypoint"} { // CopyFS keeps no modes of ours
		must(t, os.Chmod(filepath.Join(dir, "example", name), 0o755))
	}
	write(t, filepath.Join(dir, "cuda/toolkit-9.2.0/builds/cuda_nvcc/bin/nvcc"), "#!/bin/sh\nexit 1\n", 0o755)
	builds := filepath.Join(dir, "cuda/toolkit-12.8.0/builds")
	write(t, builds+"/cuda_nvcc/bin/nvcc", read(t, "testdata/nvcc"), 0o755)
	write(t, builds+"/cuda_nvcc/nvvm/bin/cicc", "", 0o755)
	write(t, builds+"/cuda_nvcc/targets/x86_64-linux/include/crt/host_config.h", "", 0o644)
	write(t, builds+"/cuda_cudart/targets/x86_64-linux/include/cuda_runtime.h", "", 0o644)
	write(t, builds+"/cuda_cudart/targets/x86_64-linux/lib/libcudart_static.a", "", 0o644)
	write(t, builds+"/libcublas/targets/x86_64-linux/lib/libcublas.so", "large", 0o644)
	return dir
}

// buildImage builds the example's image with stand-ins for nvcc and builder, and
// returns its name, the share it was built from and what build.sh wrote.
func buildImage(t *testing.T) (image, share, output string) {
	t.Helper()
	base := needBookworm(t)
	builder, image := lab.ContainerName("builder"), lab.ContainerName("example")
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", "--force", builder, image).Run() })
	dir := t.TempDir()
	write(t, dir+"/builder", read(t, "testdata/builder"), 0o755)
	write(t, dir+"/Dockerfile", "FROM "+base+"\nCOPY builder /usr/local/bin/builder\n", 0o644)
	if status, _, stderr := run(t, nil, "docker", "build", "--tag", builder, dir); status != 0 {
		t.Fatal(stderr)
	}
	share = checkout(t)
	status, stdout, stderr := run(t, []string{"IMAGE=" + image}, share+"/example/build.sh", "--build-arg", "BUILDER="+builder)
	if status != 0 {
		t.Fatalf("build.sh: status %d\n%s%s", status, stdout, stderr)
	}
	return image, share, stdout
}

func TestExample(t *testing.T) {
	image, share, output := buildImage(t)
	if want := "the toolkit in cuda/toolkit-12.8.0"; !strings.Contains(output, want) {
		t.Errorf("build.sh does not say %q:\n%s", want, output)
	}
	// Asked of the program: Docker's cache may have spared nvcc a run.
	_, how, stderr := run(t, nil, "docker", "run", "--rm", "--network", "none", "--entrypoint", "vectoradd", image, "how")
	if want := "nvcc (stand-in): -O2 -arch=all-major -cudart=static -ccbin=g++-12"; !strings.HasPrefix(how, want) {
		t.Errorf("the program was compiled by %q, want %q: %s", how, want, stderr)
	}

	write(t, share+"/driver/570.86.10/usr/lib64/libcuda.so.1", "", 0o644)
	const path = "/opt/share/driver/570.86.10/usr/lib64"
	mounted := []string{"--volume", share + ":/opt/share:ro"}
	tests := map[string]struct {
		docker, args []string
		status       int
		stdout       string
		loads        bool
	}{
		"the driver cannot be loaded": {docker: mounted, status: 17, loads: true},
		"it is loaded": {docker: append(mounted, "--env", "LOAD=570.86.10"), args: []string{"1000"}, loads: true,
			stdout: "vectoradd (stand-in): 1000, libraries " + path + "\n"},
		"before what the user has": {docker: append(mounted, "--env", "LOAD=570.86.10", "--env", "LD_LIBRARY_PATH=/mine"), loads: true,
			stdout: "vectoradd (stand-in): nothing, libraries " + path + ":/mine\n"},
		"another version is loaded, whose libraries are not here": {docker: append(mounted, "--env", "LOAD=580.159.04"), loads: true,
			stdout: "vectoradd (stand-in): nothing, libraries none\n"},
		"a container with its devices, and no share": {docker: []string{"--device", "/dev/null:/dev/nvidia-uvm"},
			stdout: "vectoradd (stand-in): nothing, libraries none\n"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			args := append(append([]string{"docker", "run", "--rm", "--network", "none"}, tt.docker...), image)
			status, stdout, stderr := run(t, nil, append(args, tt.args...)...)
			loads := strings.Contains(stderr, "builder (stand-in): load\n")
			if status != tt.status || stdout != tt.stdout || loads != tt.loads {
				t.Errorf("status %d, want %d; builder load was run: %v, want %v; stdout %q, want %q; stderr:\n%s",
					status, tt.status, loads, tt.loads, stdout, tt.stdout, stderr)
			}
		})
	}
	t.Run("size", func(t *testing.T) {
		_, base, _ := run(t, nil, "docker", "image", "inspect", "--format", "{{.Size}}", needBookworm(t))
		_, size, _ := run(t, nil, "docker", "image", "inspect", "--format", "{{.Size}}", image)
		var bytes, of int64
		if _, err := fmt.Sscan(base+size, &of, &bytes); err != nil || bytes-of > 1<<20 {
			t.Errorf("with stand-ins of some kilobytes the image has %d bytes over its base: %v", bytes-of, err)
		}
	})
}

// TestNoToolkit is a share that has a driver only.
func TestNoToolkit(t *testing.T) {
	share := checkout(t)
	must(t, os.RemoveAll(share+"/cuda"))
	status, _, stderr := run(t, nil, share+"/example/build.sh")
	if status != 1 || !strings.Contains(stderr, "there is no toolkit with an nvcc in "+share+"/cuda") {
		t.Errorf("status %d: %s", status, stderr)
	}
}
