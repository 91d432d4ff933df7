package check

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"sigs.k8s.io/yaml"
)

// ciStep is a shell step of a CI's file, and what its program is called with.
type ciStep struct {
	shell   []string
	program string // in whose place a stand-in notes its arguments
	output  string // the file with what the step leaves for later ones
	text    string
}

// run runs it where there is nothing else, and returns what the program was called with,
// what the step left for later ones, and what was in the temporary
// folder that it had at that time.
func (s ciStep) run(t *testing.T, environ ...string) (args []string, output, keys string) {
	t.Helper()
	dir := t.TempDir()
	standIn := "#!/bin/sh\ncat '" + dir + "'/tmp/* >'" + dir + "/keys' 2>/dev/null\nprintf '%s\\n' \"$@\" >'" + dir + `/args'
share=/opt/share
while [ $# -gt 0 ]; do if [ "$1" = --share ]; then share=$2; fi; shift; done
printf '%s\n' "manifest=$share/modules/REL/VER/manifest.json" reused=false
`
	if err := os.MkdirAll(filepath.Join(dir, "bin"), 0o755); err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string]string{"bin/" + s.program: standIn, "step": s.text, s.output: "", "keys": ""} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	cmd := exec.Command(s.shell[0], append(s.shell[1:], filepath.Join(dir, "step"))...)
	cmd.Dir = dir
	// A temporary folder has one name here.
	mktemp := "#!/bin/sh\nmkdir '" + dir + "/tmp' && echo '" + dir + "/tmp'\n"
	if err := os.WriteFile(filepath.Join(dir, "bin/mktemp"), []byte(mktemp), 0o755); err != nil {
		t.Fatal(err)
	}
	cmd.Env = append([]string{"PATH=" + dir + "/bin:" + os.Getenv("PATH"), "HOME=" + dir, "GITHUB_OUTPUT=" + filepath.Join(dir, s.output)}, environ...)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if _, err := os.Lstat(filepath.Join(dir, "tmp")); err == nil {
		t.Error("the step leaves its temporary folder, with the key, behind")
	}
	said := func(name string) string {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			t.Fatal(err)
		}
		return strings.ReplaceAll(string(text), dir, "$DIR")
	}
	return strings.Split(strings.TrimSuffix(said("args"), "\n"), "\n"), said(s.output), said("keys")
}

// wantTaken asks the builder of this checkout whether it takes a command line.
func wantTaken(t *testing.T, builder string, args []string) {
	t.Helper()
	if out, err := exec.Command(builder, append(slices.Clone(args), "--help")...).CombinedOutput(); err != nil || !strings.Contains(string(out), "builder "+args[0]+" ") {
		t.Errorf("builder %q: %v\n%s", args, err, out)
	}
}

func buildBuilder(t *testing.T) string {
	t.Helper()
	builder := filepath.Join(t.TempDir(), "builder")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", builder, "./cmd/builder").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return builder
}

// TestGitHubAction runs the composite action's step with what users give it, and docker's
// stand-in.
func TestGitHubAction(t *testing.T) {
	builder := buildBuilder(t)
	var action struct {
		Inputs map[string]struct{ Default string }
		Runs   struct {
			Steps []struct {
				ID, Run string
				Env     map[string]string
			}
		}
	}
	if err := yaml.Unmarshal([]byte(read(t, "../../.github/actions/modules/action.yml")), &action); err != nil {
		t.Fatal(err)
	}
	if want := "ghcr.io/k8sp/cuda:" + strings.TrimSpace(read(t, "../../cmd/builder/VERSION")); action.Inputs["image"].Default != want {
		t.Errorf("the action runs %s, and this is %s", action.Inputs["image"].Default, want)
	}
	step := action.Runs.Steps[slices.IndexFunc(action.Runs.Steps, func(s struct {
		ID, Run string
		Env     map[string]string
	}) bool {
		return s.ID == "build"
	})]
	const built = "manifest=cuda-share/modules/REL/VER/manifest.json\nreused=false\n"
	for _, c := range []struct {
		name   string
		inputs map[string]string
		mounts []string // and other options of docker's, beside the first
		want   string   // what follows the image
		output string
	}{
		{"a release", map[string]string{"flatcar": "4593.2.5", "driver-version": "580.126.09", "module-type": "open", "registry": "registry.example.com/MyOrg/cuda", "push": "true", "options": "--strict  --debug"}, nil,
			"build --module-type open --flatcar 4593.2.5 --driver-version 580.126.09 --registry registry.example.com/myorg/cuda --push --output env --strict --debug",
			built},
		{"a capture", map[string]string{"host-root": "hosts/node 1.tar", "driver-version": "580"}, nil,
			"build --module-type auto --host-root /workspace/hosts/node 1.tar --driver-version 580 --output env", built},
		{"a matrix", map[string]string{"matrix": "matrix.yaml"}, nil,
			"matrix /workspace/matrix.yaml --module-type auto --html /opt/share/matrix.html --json /opt/share/matrix.json", "table=cuda-share/matrix.html\n"},
		{"signed", map[string]string{"flatcar": "stable", "sign-key": "a secret\nof two lines", "signed": "true"}, []string{"-e", "COSIGN_PASSWORD", "-v", "$DIR/tmp:/keys:ro"},
			"build --module-type auto --flatcar stable --sign-manifest /keys/sign.key --output env", built},
	} {
		t.Run(c.name, func(t *testing.T) {
			var environ []string
			for name, value := range step.Env {
				input, ok := strings.CutPrefix(strings.TrimSuffix(value, " }}"), "${{ inputs.")
				if _, known := action.Inputs[input]; !ok || !known {
					t.Fatalf("%s is %s", name, value)
				}
				given, there := c.inputs[input]
				if !there {
					given = action.Inputs[input].Default
				}
				environ = append(environ, name+"="+given)
			}
			args, output, keys := ciStep{[]string{"bash", "--noprofile", "--norc", "-eo", "pipefail"}, "docker", "output", step.Run}.run(t, environ...)
			at := slices.Index(args, action.Inputs["image"].Default)
			if at < 0 {
				t.Fatalf("%q", args)
			}
			options := append([]string{"run", "--rm", "-e", "BUILDER_GITHUB_TOKEN", "-v", "$DIR/cuda-share:/opt/share", "-v", "$DIR:/workspace:ro"}, c.mounts...)
			if diff := cmp.Diff(options, args[:at]); diff != "" {
				t.Error(diff)
			}
			if keys != "" != (c.mounts != nil) || c.mounts != nil && keys != c.inputs["sign-key"]+"\n" {
				t.Errorf("the mounted key is %q", keys)
			}
			if slices.Contains(args, "secret") || strings.Contains(strings.Join(args, " "), "two lines") {
				t.Errorf("the key is on the command line: %q", args)
			}
			if got := strings.Join(args[at+1:], " "); got != c.want || output != c.output {
				t.Errorf("%s, and want %s; output %q", got, c.want, output)
			}
			wantTaken(t, builder, args[at+1:])
		})
	}
}

// TestRefusedSteps: nothing is built for the runner's own kernel because nobody has said for
// which, nor without the key that was to sign.
func TestRefusedSteps(t *testing.T) {
	var action struct {
		Runs struct{ Steps []struct{ ID, Run string } }
	}
	if err := yaml.Unmarshal([]byte(read(t, "../../.github/actions/modules/action.yml")), &action); err != nil {
		t.Fatal(err)
	}
	var template map[string]struct{ Script []string }
	if err := yaml.Unmarshal([]byte(read(t, "../ci/gitlab.yml")), &template); err != nil {
		t.Fatal(err)
	}
	gitLab, gitHub := []string{"sh", "-ec", strings.Join(template[".cuda-modules"].Script, "\n")}, []string(nil)
	for _, step := range action.Runs.Steps {
		if step.ID == "build" {
			gitHub = []string{"bash", "-eo", "pipefail", "-c", step.Run}
		}
	}
	for _, c := range []struct {
		shell   []string
		environ []string
		says    string
	}{
		{gitLab, []string{"CUDA_SIGNED=true", "CUDA_FLATCAR=stable"}, "BUILDER_SIGN_MANIFEST names no file"},
		{gitHub, []string{"SIGNED=true", "FLATCAR=stable"}, "::error::sign-key is empty"},
		{gitLab, []string{"CUDA_DRIVER_VERSION=580"}, "set one of CUDA_FLATCAR, CUDA_HOST_ROOT and CUDA_MATRIX"},
		{gitLab, []string{"CUDA_FLATCAR=stable", "CUDA_HOST_ROOT=node.tar"}, "set one of CUDA_FLATCAR, CUDA_HOST_ROOT and CUDA_MATRIX"},
		{gitHub, []string{"DRIVER_VERSION=580"}, "::error::one of flatcar, host-root and matrix has to say"},
		{gitLab, []string{"CUDA_MATRIX=matrix.yaml", "CUDA_DRIVER_VERSION=580"}, "the file in CUDA_MATRIX names the drivers"},
		{gitHub, []string{"MATRIX=matrix.yaml", "DRIVER_VERSION=580"}, "::error::the file that matrix is names the kernels and the drivers"},
	} {
		cmd := exec.Command(c.shell[0], c.shell[1:]...)
		cmd.Dir, cmd.Env = t.TempDir(), append([]string{"PATH=/nowhere"}, c.environ...)
		out, _ := cmd.CombinedOutput()
		if cmd.ProcessState.ExitCode() != 2 || !strings.HasPrefix(string(out), c.says) {
			t.Errorf("%q: %s\n%s", c.environ, cmd.ProcessState, out)
		}
	}
}

// TestGitLab runs the template's script as a job that extends it, with builder's stand-in.
func TestGitLab(t *testing.T) {
	var file map[string]struct {
		Image     struct{ Name string }
		Variables map[string]string
		Script    []string
	}
	if err := yaml.Unmarshal([]byte(read(t, "../ci/gitlab.yml")), &file); err != nil {
		t.Fatal(err)
	}
	job := file[".cuda-modules"]
	if want := "ghcr.io/k8sp/cuda:" + strings.TrimSpace(read(t, "../../cmd/builder/VERSION")); job.Image.Name != want {
		t.Errorf("the template runs %s, and this is %s", job.Image.Name, want)
	}
	builder := buildBuilder(t)
	for _, c := range []struct {
		given  map[string]string
		want   string
		output string
	}{
		{map[string]string{"CUDA_FLATCAR": "stable", "CUDA_DRIVER_VERSION": "580", "CUDA_REGISTRY": "registry.example.com/cuda", "CUDA_PUSH": "true"},
			"build --share $DIR/cuda-share --module-type auto --flatcar stable --driver-version 580 --registry registry.example.com/cuda --push --output env",
			"CUDA_BUILT_manifest=cuda-share/modules/REL/VER/manifest.json\nCUDA_BUILT_reused=false\n"},
		{map[string]string{"CUDA_MATRIX": "kernels/matrix.yaml"},
			"matrix kernels/matrix.yaml --html cuda-share/matrix.html --json cuda-share/matrix.json --share $DIR/cuda-share --module-type auto", ""},
	} {
		environ := []string{`DOCKER_AUTH_CONFIG={"auths": {}}`}
		for name, value := range job.Variables {
			if given, there := c.given[name]; there {
				value = given
			}
			environ = append(environ, name+"="+value)
		}
		args, output, _ := ciStep{[]string{"sh", "-e"}, "builder", "cuda.env", strings.Join(job.Script, "\n")}.run(t, environ...)
		if got := strings.Join(args, " "); got != c.want || output != c.output {
			t.Errorf("%s, and want %s; output %q", got, c.want, output)
		}
		wantTaken(t, builder, args)
	}
}
