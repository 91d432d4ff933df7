//go:build integration

package integration

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/internal/ko"
)

// TestDemo is `make demo` in a fresh copy of the checkout: the two docker
// lines, the stages, the modules, and the manifest as the last line.
func TestDemo(t *testing.T) {
	c := needDemo(t)
	for _, want := range []string{
		"    docker build -t cuda .\n    docker run -v \"$PWD\":/opt/share cuda\n",
		"$ docker build -t cuda .\n",
		`-v "$PWD":/opt/share -v `,
		"\nReal:\n", "\nStood in:\n",
	} {
		if !strings.Contains(c.demo, want) {
			t.Errorf("the demo does not print %q", want)
		}
	}
	from := 0
	for _, stage := range []string{"detect", "driver", "source", "prepare", "build", "check", "publish"} {
		finished := regexp.MustCompile(`finished stage=` + stage + ` took="[0-9.]+ s"`).FindStringIndex(c.demo[from:])
		if finished == nil {
			t.Fatalf("the demo does not say how long %s took, after the stages before it", stage)
		}
		from += finished[1]
	}
	want := filepath.Join(c.dir, "modules", needHost(t).Release)
	if got := filepath.Dir(c.published()); got != want {
		t.Errorf("the last line names a folder in %s, want %s", got, want)
	}
}

func TestModulesAreTheTargets(t *testing.T) {
	c := needDemo(t)
	m := c.manifest(t)
	var names []string
	for _, module := range m.Modules {
		names = append(names, module.Name)
		content, err := os.ReadFile(filepath.Join(c.published(), module.File))
		if err != nil {
			t.Fatal(err)
		}
		if sum := sha256.Sum256(content); hex.EncodeToString(sum[:]) != strings.TrimPrefix(module.SHA256, "sha256:") {
			t.Errorf("%s: its SHA-256 is %x, the manifest says %s", module.File, sum, module.SHA256)
		}
		if !strings.HasPrefix(module.Vermagic, needHost(t).Release+" ") {
			t.Errorf("%s: vermagic %q, want one of %s", module.File, module.Vermagic, needHost(t).Release)
		}
	}
	// Every module has objects that were compiled here, by the compiler that the
	// manifest names and the kernel was built with, which is not the image's default.
	_, compiler, _ := strings.Cut(m.Build.Compiler, " ")
	for _, module := range m.Modules {
		file, err := ko.Open(filepath.Join(c.published(), module.File))
		if err != nil {
			t.Fatal(err)
		}
		if !slices.Contains(file.Compilers, "GCC: "+compiler) {
			t.Errorf("%s was compiled by %q, the manifest says %s", module.File, file.Compilers, m.Build.Compiler)
		}
	}
	if first := names[0]; first != "nvidia" {
		t.Errorf("%s is to be loaded first, want nvidia", first)
	}
	slices.Sort(names)
	if diff := cmp.Diff([]string{"nvidia", "nvidia_drm", "nvidia_modeset", "nvidia_peermem", "nvidia_uvm"}, names); diff != "" {
		t.Errorf("modules (-want +got):\n%s", diff)
	}
	if got, want := m.Source.Ref, "v"+needKernel(t).Version+"-coreos"; filepath.Base(got) != want {
		t.Errorf("built from %s, want %s", got, want)
	}
}

// TestKernelIsARepository looks at the kernel's source with git itself, which
// then fetches the rest of it: with the file that go-git refuses to check out
// by default, and those that differ in case only.
func TestKernelIsARepository(t *testing.T) {
	c := needDemo(t)
	out := docker(t, "run", "--rm", "--network", "host", "--volume", filepath.Join(c.dir, "linux")+":/linux:ro",
		"--env", "URL="+needServer(t).Repository("coreos/linux"), lab.Image, "bash", "-euc", `
		cp -a /linux /tmp/linux && cd /tmp/linux
		git config --global safe.directory '*'
		git log -1 --format='commit %H'
		git status --porcelain
		git sparse-checkout list | grep -c . >/dev/null
		test ! -e Documentation/index.rst
		git remote set-url origin "$URL"
		git sparse-checkout disable
		git status --porcelain
		ls drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c net/netfilter/xt_TCPMSS.c net/netfilter/xt_tcpmss.c Documentation/index.rst .clang-format`)
	want := "commit " + c.manifest(t).Source.Commit + `
.clang-format
Documentation/index.rst
drivers/gpu/drm/nouveau/nvkm/subdev/i2c/aux.c
net/netfilter/xt_TCPMSS.c
net/netfilter/xt_tcpmss.c`
	if diff := cmp.Diff(want, out); diff != "" {
		t.Errorf("git says (-want +got):\n%s", diff)
	}
}

func TestShareKeepsItsOwnerAndItsInputs(t *testing.T) {
	c := needDemo(t)
	want := uint32(os.Getuid())
	if want == 0 {
		want = owner
	}
	wrong := 0
	for _, folder := range []string{"driver", "linux", "modules", ".builder"} {
		err := filepath.WalkDir(filepath.Join(c.dir, folder), func(path string, entry fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			info, err := entry.Info()
			if err != nil {
				return err
			}
			if got := info.Sys().(*syscall.Stat_t).Uid; got != want && wrong < 5 {
				t.Errorf("%s belongs to user %d, want %d", path, got, want)
				wrong++
			}
			return nil
		})
		if err != nil {
			t.Error(err)
		}
	}
	if left, _ := os.ReadDir(filepath.Join(c.dir, ".builder", "scratch")); len(left) > 0 {
		t.Errorf("left in scratch: %v", left)
	}
	given, err := os.ReadFile(needDriver(t).Run)
	if err != nil {
		t.Fatal(err)
	}
	kept, err := os.ReadFile(filepath.Join(c.dir, "cuda", filepath.Base(needDriver(t).Run)))
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(given, kept) {
		t.Error("the driver package in ./cuda was changed")
	}
}

// TestContext builds the image again where the share holds a whole kernel
// tree, a result, and a toolkit of a gigabyte.
func TestContext(t *testing.T) {
	c := needDemo(t)
	cmd := exec.CommandContext(t.Context(), "docker", "build", "-t", "cuda", ".")
	cmd.Dir = c.dir
	cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0")
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Fatalf("docker build: %v\n%s", err, out)
	}
	// The line is rewritten while it counts; the last number is the sum.
	sent := regexp.MustCompile(`Sending build context to Docker daemon\s+([0-9.]+)\s*([kMG]?B)`).FindAllSubmatch(out, -1)
	if sent == nil {
		t.Fatalf("docker build does not say what it sent:\n%s", out)
	}
	last := sent[len(sent)-1]
	size, err := strconv.ParseFloat(string(last[1]), 64)
	if err != nil {
		t.Fatal(err)
	}
	megabytes := size * map[string]float64{"B": 1e-6, "kB": 1e-3, "MB": 1, "GB": 1e3}[string(last[2])]
	if megabytes > 5 {
		t.Errorf("the build sent %.1f MB, want less than 5", megabytes)
	}
}

// TestRerun runs the job again, with nothing but the share and the host: no
// network and no capability of root's.
func TestRerun(t *testing.T) {
	c := needDemo(t)
	before := c.results(t)
	b := c.builder(t)
	b.Docker = []string{"--cap-drop", "ALL", "--read-only"}
	if os.Getuid() == 0 {
		b.Docker = append(b.Docker, "--user", fmt.Sprint(owner))
	}
	o := run(t, b)
	if o.code != 0 {
		t.Fatalf("exit code %d, want 0", o.code)
	}
	if inside := strings.TrimSpace(o.stdout); filepath.Join(c.dir, strings.TrimPrefix(inside, "/opt/share")) != filepath.Join(c.published(), "manifest.json") {
		t.Errorf("stdout is %q, want the manifest's path", inside)
	}
	for _, stage := range []string{"source", "prepare", "build"} {
		if strings.Contains(o.stderr, `"stage":"`+stage+`"`) {
			t.Errorf("%s ran again", stage)
		}
	}
	if after := c.results(t); after != before {
		t.Errorf("results changed (-before +after):\n%s", cmp.Diff(before, after))
	}
}

// TestOtherCommands runs, on the share and the host that are there, what a
// user looks around with.
func TestOtherCommands(t *testing.T) {
	c := needDemo(t)
	published := "/opt/share/" + strings.TrimPrefix(c.published(), c.dir+"/")
	for _, tt := range []struct {
		args []string
		want string
	}{
		{[]string{"verify", published}, "passed"},
		{[]string{"build", "--dry-run"}, "publish"},
		{[]string{"prune"}, "would be freed"},
		{[]string{"version"}, "."},
	} {
		t.Run(tt.args[0], func(t *testing.T) {
			before := c.results(t)
			o := run(t, c.builder(t, tt.args...))
			if o.code != 0 || !strings.Contains(o.stdout, tt.want) {
				t.Errorf("exit code %d, want 0 and %q on stdout", o.code, tt.want)
			}
			if after := c.results(t); after != before {
				t.Errorf("results changed (-before +after):\n%s", cmp.Diff(before, after))
			}
		})
	}
}

// TestCapturedHost does the job for a host that was captured to a tar and is
// not mounted.
func TestCapturedHost(t *testing.T) {
	c := needDemo(t)
	captured := run(t, c.builder(t, "capture"))
	if captured.code != 0 {
		t.Fatalf("exit code %d, want 0", captured.code)
	}
	tar := filepath.Join(t.TempDir(), "node.tar")
	if err := os.WriteFile(tar, []byte(captured.stdout), 0o644); err != nil {
		t.Fatal(err)
	}
	b := c.builder(t, "--host-root=/node.tar", "--output=json")
	b.HostRoot = ""
	b.Docker = []string{"-v", tar + ":/node.tar:ro"}
	o := run(t, b)
	if o.code != 0 || !strings.Contains(o.stdout, `"reused": true`) {
		t.Errorf("exit code %d, want 0 and the result that the mounted host gave", o.code)
	}
}
