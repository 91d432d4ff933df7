package check

import (
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

// TestCommands asks the builder of this checkout whether it has every command
// and every option that the units, the script and the manifests give it.
func TestCommands(t *testing.T) {
	builder := buildBuilder(t)
	commands := systemdCommands(t)
	pod := base(t).Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		commands["daemonset.yaml, "+c.Name] = c.Args
		if p := probe(c); p != nil {
			commands["daemonset.yaml, probe of "+c.Name] = p[1:]
		}
	}
	for _, c := range agents(t).Spec.Template.Spec.Containers {
		commands["next-kernel, "+c.Name] = c.Args
	}
	commands["fluo"] = find[*appsv1.Deployment](t, kustomize(t, filesys.MakeFsOnDisk(), kubernetes+"/fluo")).Spec.Template.Spec.Containers[0].Args
	for _, found := range regexp.MustCompile(`-- (builder .+)`+"`").FindAllStringSubmatch(read(t, kubernetes, "README.md"), -1) {
		commands[found[1]] = strings.Fields(found[1])[1:]
	}
	if len(commands) != 11 {
		t.Errorf("%d commands were found, want 11", len(commands))
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

// TestUnitPrivileges holds what the units' containers may do to what the DaemonSet's
// may, and what they see of the host to single files and folders.
func TestUnitPrivileges(t *testing.T) {
	pod := base(t).Spec.Template.Spec
	options := regexp.MustCompile(`docker run ((?:.+\\\n)+)`)
	capabilities := regexp.MustCompile(`--cap-add (\S+)`)
	mounts := regexp.MustCompile(`--volume "?([^\s:]+):([^\s"]+)`)
	for name, of := range map[string]corev1.Container{
		"cuda-modules.service": pod.InitContainers[0], "cuda-next-kernel": pod.InitContainers[0], "cuda-driver.service": pod.Containers[0],
		"cuda-daemons.service": pod.Containers[0],
	} {
		run := options.FindString(read(t, systemd, name))
		for _, want := range []string{" --cap-drop ALL ", " --security-opt no-new-privileges ", " --memory "} {
			if !strings.Contains(run, want) {
				t.Errorf("%s runs the image without %q", name, want)
			}
		}
		if strings.Contains(run, "--privileged") {
			t.Errorf("%s runs a privileged container", name)
		}
		if opens := strings.Contains(run, " --device-cgroup-rule "); opens != (name == "cuda-daemons.service") {
			t.Errorf("%s may open devices: %t", name, opens)
		}
		var got []corev1.Capability
		for _, found := range capabilities.FindAllStringSubmatch(run, -1) {
			got = append(got, corev1.Capability(found[1]))
		}
		slices.Sort(got)
		if diff := cmp.Diff(slices.Sorted(slices.Values(of.SecurityContext.Capabilities.Add)), got); diff != "" {
			t.Errorf("%s has other capabilities than the DaemonSet's %s (-want +got):\n%s", name, of.Name, diff)
		}
		found := mounts.FindAllStringSubmatch(run, -1)
		if len(found) == 0 {
			t.Errorf("%s mounts nothing", name)
		}
		for _, m := range found {
			if slices.Contains([]string{"/", "/proc", "/sys", "/etc", "/run", "/var", "/home"}, m[1]) {
				t.Errorf("%s shows the container all of %s", name, m[1])
			}
			if strings.HasPrefix(m[2], "/host/") && m[2] != "/host/dev" && !strings.HasSuffix(m[2], ":ro") {
				t.Errorf("%s lets the container write to %s", name, m[1])
			}
		}
	}
}

// TestBoot has nobody who has locked the share hold up a boot or a node for long.
func TestBoot(t *testing.T) {
	commands := systemdCommands(t)
	commands["daemonset.yaml"] = base(t).Spec.Template.Spec.InitContainers[0].Args
	commands["next-kernel"] = container(t, agents(t).Spec.Template.Spec, "build").Args
	for _, name := range []string{"cuda-modules.service", "cuda-next-kernel", "daemonset.yaml", "next-kernel"} {
		wait := regexp.MustCompile(`--wait[ =](\S+)`).FindStringSubmatch(strings.Join(commands[name], " "))
		if wait == nil {
			t.Errorf("%s waits for the share for an hour", name)
			continue
		}
		if d, err := time.ParseDuration(wait[1]); err != nil || d > 10*time.Minute {
			t.Errorf("%s waits for the share for %s, %v", name, wait[1], err)
		}
	}
}

// systemdCommands are what the units and the script run in the image.
func systemdCommands(t *testing.T) map[string][]string {
	t.Helper()
	commands := map[string][]string{}
	image := regexp.MustCompile(`(?m)("\$CUDA_IMAGE"|\$\{CUDA_IMAGE\}) (.+)$`)
	for _, name := range []string{"cuda-modules.service", "cuda-driver.service", "cuda-daemons.service", "cuda-next-kernel"} {
		text := strings.ReplaceAll(read(t, systemd, name), "\\\n", " ")
		found := image.FindAllStringSubmatch(text, -1)
		if len(found) != 1 {
			t.Fatalf("%s runs the image %d times, want once", name, len(found))
		}
		commands[name] = strings.Fields(strings.ReplaceAll(found[0][2], "${CUDA_SHARE}", share))
	}
	return commands
}
