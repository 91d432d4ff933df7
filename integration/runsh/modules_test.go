//go:build integration

package runsh

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/lab/shared"
)

// TestUpToModules is a laptop's whole run: download, unpack, and the two
// docker lines, up to the modules. What is in the VM's place is this machine's
// Docker, without --privileged, and the lab's recorded CoreOS host.
func TestUpToModules(t *testing.T) {
	l := shared.Lab(t)
	parts, err := l.Make(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	github, err := l.Serve(t.Context(), parts.Kernel)
	if err != nil {
		t.Fatal(err)
	}
	defer github.Close()
	run, err := os.ReadFile(parts.Driver.Run)
	if err != nil {
		t.Fatal(err)
	}
	name := "NVIDIA-Linux-x86_64-" + parts.Driver.Version + ".run"

	laptop := newLaptop(t, serve(t, toolkitName, toolkit(t, name, run), nil))
	copyContext(t, laptop.Dir)
	laptop.Env["CUDA_DRIVER"] = parts.Driver.Version
	laptop.Env["VAGRANT_VM"] = vm{
		Share: laptop.Dir,
		Run: []string{"--rm", "--network", "host", "--volume", parts.Host.Dir + ":/host:ro",
			"--env", "BUILDER_GITHUB_API_URL=" + github.APIURL(),
			"--env", "BUILDER_CLONE_URL=" + github.CloneURL() + "/coreos/linux.git"},
	}.serve(t)

	expect(t, laptop.run(t), 0,
		"vagrant (stand-in): asked for: docker build -t cuda /home/core/share",
		"vagrant (stand-in): runs here: docker build -t cuda "+laptop.Dir,
		"vagrant (stand-in): asked for: docker run --privileged -v /home/core/share:/opt/share cuda",
		"vagrant (stand-in): runs here: docker run --rm --network host",
		"/opt/share/modules/"+parts.Host.Release+"/"+parts.Driver.Version+"/manifest.json")

	if diff := cmp.Diff(lines, laptop.vagrant(t)); diff != "" {
		t.Errorf("what vagrant was asked (-want +got):\n%s", diff)
	}
	published := filepath.Join("modules", parts.Host.Release, parts.Driver.Version)
	var manifest struct {
		Modules []struct{ Name, File, Vermagic string }
	}
	if err := json.Unmarshal(laptop.read(t, filepath.Join(published, "manifest.json")), &manifest); err != nil {
		t.Fatal(err)
	}
	if len(manifest.Modules) != 5 {
		t.Errorf("%d modules, want 5: %v", len(manifest.Modules), manifest.Modules)
	}
	for _, module := range manifest.Modules {
		if len(laptop.read(t, filepath.Join(published, module.File))) == 0 {
			t.Errorf("%s is empty", module.File)
		}
		if !strings.HasPrefix(module.Vermagic, parts.Host.Release+" ") {
			t.Errorf("%s is for %q, want %s", module.File, module.Vermagic, parts.Host.Release)
		}
	}
}

// copyContext copies what the Dockerfile needs of the checkout.
func copyContext(t *testing.T, dst string) {
	t.Helper()
	for _, name := range []string{"cmd", "internal", "pkg", "scripts"} {
		if err := os.CopyFS(filepath.Join(dst, name), os.DirFS(filepath.Join(checkout, name))); err != nil {
			t.Fatal(err)
		}
	}
	for _, name := range []string{"Dockerfile", ".dockerignore", "go.mod", "go.sum", "LICENSE"} {
		content, err := os.ReadFile(filepath.Join(checkout, name))
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(dst, name), content, 0o644); err != nil {
			t.Fatal(err)
		}
	}
}

// vm runs on this machine the docker lines that the vagrant stand-in was given
// for the VM.
type vm struct {
	Share string   // what /home/core/share stands for
	Run   []string // further options of docker run
}

// serve returns the URL that takes a line and answers with its output and, on
// the last line, its exit status.
func (v vm) serve(t *testing.T) string {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		line, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
			return
		}
		here := v.rewrite(string(line))
		fmt.Fprintf(w, "vagrant (stand-in): asked for: %s\nvagrant (stand-in): runs here: %s\n", line, here)
		cmd := exec.CommandContext(r.Context(), "sh", "-c", here)
		cmd.Env = append(os.Environ(), "DOCKER_BUILDKIT=0") // as on CoreOS
		out := flushing{w}
		cmd.Stdout, cmd.Stderr = out, out
		cmd.WaitDelay = 5 * time.Second
		_ = cmd.Run() // its status is the answer
		fmt.Fprintf(w, "\n%d\n", cmd.ProcessState.ExitCode())
	}))
	t.Cleanup(server.Close)
	return server.URL
}

// rewrite makes of a line for the VM one for this machine. CI's machine refuses
// --privileged, and older copies of run.sh do without it.
func (v vm) rewrite(line string) string {
	line = strings.ReplaceAll(line, "/home/core/share", v.Share)
	line = strings.Replace(line, " --privileged", "", 1)
	return strings.Replace(line, "docker run", "docker run "+strings.Join(v.Run, " "), 1)
}

// flushing shows a line when it is written, not when the command has ended.
type flushing struct{ w http.ResponseWriter }

func (f flushing) Write(p []byte) (int, error) {
	n, err := f.w.Write(p)
	if err == nil {
		err = http.NewResponseController(f.w).Flush()
	}
	return n, err
}
