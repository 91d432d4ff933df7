package check

import (
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// TestCommands asks the builder of this checkout whether it has every command
// and every option that the units, the script and the manifests give it.
func TestCommands(t *testing.T) {
	builder := filepath.Join(t.TempDir(), "builder")
	if out, err := exec.Command("go", "build", "-C", "../..", "-o", builder, "./cmd/builder").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	commands := systemdCommands(t)
	pod := base(t).Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		commands["daemonset.yaml, "+c.Name] = c.Args
		if p := probe(c); p != nil {
			commands["daemonset.yaml, probe of "+c.Name] = p[1:]
		}
	}
	for _, found := range regexp.MustCompile(`-- (builder .+)`+"`").FindAllStringSubmatch(read(t, kubernetes, "README.md"), -1) {
		commands[found[1]] = strings.Fields(found[1])[1:]
	}
	if len(commands) != 7 {
		t.Errorf("%d commands were found, want 7", len(commands))
	}
	for from, args := range commands {
		t.Run(from, func(t *testing.T) {
			// Flags are parsed, and then --help asks for no more than help.
			out, err := exec.Command(builder, append(slices.Clone(args), "--help")...).CombinedOutput()
			if err != nil {
				t.Fatalf("builder %s: %v\n%s", strings.Join(args, " "), err, out)
			}
			if want := "builder " + args[0] + " "; !strings.Contains(string(out), want) {
				t.Errorf("builder %s --help does not say %q, so it is of another command:\n%s", args[0], want, out)
			}
		})
	}
	for from, text := range texts(t) {
		for _, name := range regexp.MustCompile(`\bBUILDER_[A-Z0-9_]+`).FindAllString(text, -1) {
			flag := "--" + strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(name, "BUILDER_"), "_", "-"))
			if !slices.ContainsFunc([]string{"build", "load"}, func(command string) bool {
				out, _ := exec.Command(builder, command, flag+"=1", "--help").CombinedOutput()
				return !strings.Contains(string(out), "unknown flag")
			}) {
				t.Errorf("%s has %s, and builder has no %s", from, name, flag)
			}
		}
	}
}

// TestRecord has the unit give load the place of its record; of the DaemonSet it is in
// [TestPrivileges].
func TestRecord(t *testing.T) {
	if text := read(t, systemd, "cuda-driver.service"); !strings.Contains(text, " --volume /run/cuda:/run/cuda ") {
		t.Error("load's record is nowhere, so unload will leave modules of the kernel's own")
	}
}

// systemdCommands are what the units and the script run in the image.
func systemdCommands(t *testing.T) map[string][]string {
	t.Helper()
	commands := map[string][]string{}
	image := regexp.MustCompile(`(?m)("\$CUDA_IMAGE"|\$\{CUDA_IMAGE\}) (.+)$`)
	for _, name := range []string{"cuda-modules.service", "cuda-driver.service", "cuda-next-kernel"} {
		text := strings.ReplaceAll(read(t, systemd, name), "\\\n", " ")
		found := image.FindAllStringSubmatch(text, -1)
		if len(found) != 1 {
			t.Fatalf("%s runs the image %d times, want once", name, len(found))
		}
		commands[name] = strings.Fields(strings.ReplaceAll(found[0][2], "${CUDA_SHARE}", share))
	}
	return commands
}
