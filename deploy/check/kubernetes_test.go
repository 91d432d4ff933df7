package check

import (
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	batchv1 "k8s.io/api/batch/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/labels"
	"k8s.io/apimachinery/pkg/runtime"
	"k8s.io/apimachinery/pkg/runtime/serializer"
	psaapi "k8s.io/pod-security-admission/api"
	psa "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/api/krusty"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

const kubernetes = "../kubernetes"

// kustomize builds a folder as `kustomize build` does, and decodes the result
// with Kubernetes' own types: an unknown or a doubled field is an error.
func kustomize(t *testing.T, files filesys.FileSystem, folder string) []runtime.Object {
	t.Helper()
	resources, err := krusty.MakeKustomizer(krusty.MakeDefaultOptions()).Run(files, folder)
	if err != nil {
		t.Fatalf("kustomize build %s: %v", folder, err)
	}
	scheme := runtime.NewScheme()
	for _, add := range []func(*runtime.Scheme) error{corev1.AddToScheme, appsv1.AddToScheme, batchv1.AddToScheme, rbacv1.AddToScheme, networkingv1.AddToScheme, admissionv1.AddToScheme} {
		if err := add(scheme); err != nil {
			t.Fatal(err)
		}
	}
	decoder := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer()
	var objects []runtime.Object
	for _, r := range resources.Resources() {
		text, err := r.AsYAML()
		if err != nil {
			t.Fatal(err)
		}
		object, _, err := decoder.Decode(text, nil, nil)
		if err != nil {
			t.Fatalf("%s: %v", r.CurId(), err)
		}
		objects = append(objects, object)
	}
	return objects
}

// find is the one object of its type.
func find[T runtime.Object](t *testing.T, objects []runtime.Object) T {
	t.Helper()
	var found []T
	for _, o := range objects {
		if o, ok := o.(T); ok {
			found = append(found, o)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d objects are a %T, want 1", len(found), *new(T))
	}
	return found[0]
}

func base(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	return find[*appsv1.DaemonSet](t, kustomize(t, filesys.MakeFsOnDisk(), kubernetes+"/base"))
}

func TestBase(t *testing.T) {
	objects := kustomize(t, filesys.MakeFsOnDisk(), kubernetes+"/base")
	set := find[*appsv1.DaemonSet](t, objects)
	namespace := find[*corev1.Namespace](t, objects)
	if set.Spec.UpdateStrategy.Type != appsv1.OnDeleteDaemonSetStrategyType {
		t.Errorf("a node's driver changes by %s, and not when its pod is deleted", set.Spec.UpdateStrategy.Type)
	}
	if set.Namespace != namespace.Name {
		t.Errorf("the DaemonSet is in %q, the namespace is %q", set.Namespace, namespace.Name)
	}
	selector, err := metav1.LabelSelectorAsSelector(set.Spec.Selector)
	if err != nil {
		t.Fatal(err)
	}
	if !selector.Matches(labels.Set(set.Spec.Template.Labels)) {
		t.Errorf("%s does not select pods with %v", selector, set.Spec.Template.Labels)
	}
}

// TestPrivileges is the list of what the pods may do, so that no change adds to
// it in passing.
func TestPrivileges(t *testing.T) {
	pod := base(t).Spec.Template.Spec
	if pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken || slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Projected != nil || v.Secret != nil }) {
		t.Error("the pods get a token for the API server")
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC {
		t.Error("the pods are in one of the host's namespaces")
	}
	if pod.SecurityContext.SeccompProfile.Type != corev1.SeccompProfileTypeRuntimeDefault {
		t.Error("the pods are without the runtime's seccomp profile")
	}
	want := map[string][]corev1.Capability{
		"build": {"SETUID", "SETGID", "CHOWN"},
		"load":  {"SYS_MODULE", "SYSLOG", "MKNOD", "CHOWN", "FOWNER", "SETUID", "SETGID"},
	}
	writable := map[string][]string{
		"build": {"/opt/share", "/tmp", "/var/lib/nvidia"},
		"load":  {"/opt/share", "/tmp", "/host/dev", "/etc/cdi", "/run/cuda", "/sys/module/firmware_class/parameters"},
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		s := c.SecurityContext
		if s.Privileged != nil && *s.Privileged || *s.AllowPrivilegeEscalation || !*s.ReadOnlyRootFilesystem {
			t.Errorf("%s: privileged, or its privileges can grow, or it can write to its root", c.Name)
		}
		if diff := cmp.Diff([]corev1.Capability{"ALL"}, s.Capabilities.Drop); diff != "" {
			t.Errorf("%s drops (-want +got):\n%s", c.Name, diff)
		}
		if diff := cmp.Diff(want[c.Name], s.Capabilities.Add); diff != "" {
			t.Errorf("%s has (-want +got):\n%s", c.Name, diff)
		}
		var mounts []string
		for _, m := range c.VolumeMounts {
			if !m.ReadOnly {
				mounts = append(mounts, m.MountPath)
			} else if m.RecursiveReadOnly == nil || *m.RecursiveReadOnly != corev1.RecursiveReadOnlyIfPossible {
				t.Errorf("%s can write to what is mounted below %s", c.Name, m.MountPath)
			}
		}
		if diff := cmp.Diff(writable[c.Name], mounts); diff != "" {
			t.Errorf("%s can write to (-want +got):\n%s", c.Name, diff)
		}
	}
}

// TestVolumes holds mounts to volumes, and the paths in commands to mounts.
func TestVolumes(t *testing.T) {
	pod := base(t).Spec.Template.Spec
	used := map[string]bool{}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		for _, m := range c.VolumeMounts {
			used[m.Name] = true
			if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.Name == m.Name }) {
				t.Errorf("%s mounts %s, which is no volume", c.Name, m.Name)
			}
		}
		for _, arg := range slices.Concat(c.Args, probe(c)) {
			flag, value, _ := strings.Cut(arg, "=")
			if !path.IsAbs(value) || flag == "--host-share" { // that one is the host's
				continue
			}
			if !slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool {
				return m.MountPath == value || strings.HasPrefix(m.MountPath, value+"/")
			}) {
				t.Errorf("%s: %s, and nothing is mounted there", c.Name, arg)
			}
		}
	}
	for _, v := range pod.Volumes {
		if !used[v.Name] {
			t.Errorf("nobody mounts the volume %s", v.Name)
		}
		if v.HostPath != nil && (v.HostPath.Type == nil || *v.HostPath.Type == corev1.HostPathUnset) {
			t.Errorf("the volume %s does not say what its host path must be", v.Name)
		}
	}
}

// TestNarrow is the list of what of the node the pods see, but for where they write:
// nothing of other pods, no processes, and no folder with others' files in it.
func TestNarrow(t *testing.T) {
	pod := base(t).Spec.Template.Spec
	const build = "/boot /etc/os-release /home/core/share /lib/modules /proc/keys /sys/kernel/security"
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		want := strings.Fields(build)
		if c.Name == "load" {
			want = append(want, "/dev", "/etc/cdi", "/etc/extensions", "/etc/modprobe.d", "/opt/nvidia", "/run/cuda", "/run/extensions", "/sys/module/firmware_class/parameters")
		}
		var got []string
		for _, m := range c.VolumeMounts {
			for _, v := range pod.Volumes {
				if v.Name == m.Name && v.HostPath != nil {
					got = append(got, v.HostPath.Path)
				}
			}
		}
		slices.Sort(want)
		slices.Sort(got)
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s sees of the node (-want +got):\n%s", c.Name, diff)
		}
	}
}

// TestLimits has no container take a node's memory, nor a build all of its CPUs, and
// each say why it failed.
func TestLimits(t *testing.T) {
	pod := base(t).Spec.Template.Spec
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if c.Resources.Limits.Memory().IsZero() || c.Name == "build" && c.Resources.Limits.Cpu().IsZero() {
			t.Errorf("%s has the limits %v", c.Name, c.Resources.Limits)
		}
		if c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError {
			t.Errorf("%s does not say why it failed", c.Name)
		}
	}
}

// TestExtensions has the container that loads see where Flatcar's own driver
// shows, live, and not change it.
func TestExtensions(t *testing.T) {
	pod := base(t).Spec.Template.Spec
	for _, want := range []string{"/etc/extensions", "/run/extensions", "/etc/modprobe.d", "/opt/nvidia"} {
		found := slices.ContainsFunc(pod.Containers[0].VolumeMounts, func(m corev1.VolumeMount) bool {
			return m.MountPath == "/host"+want && m.ReadOnly && slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool {
				return v.Name == m.Name && v.HostPath != nil && v.HostPath.Path == want
			})
		})
		if !found {
			t.Errorf("the host's %s is not at /host%s, read-only", want, want)
		}
	}
}

// probe is the command of a container's readiness probe.
func probe(c corev1.Container) []string {
	if c.ReadinessProbe == nil {
		return nil
	}
	return c.ReadinessProbe.Exec.Command
}

// TestProbe holds the probes to what was loaded: the same flags but --check for
// --stay, and that they print one line, as the kubelet's events have no more.
func TestProbe(t *testing.T) {
	pod := base(t).Spec.Template.Spec
	load := pod.Containers[0]
	want := slices.Concat([]string{"/usr/local/bin/builder"}, load.Args)
	want[slices.Index(want, "--stay")] = "--check"
	want = append(want, "--quiet")
	if diff := cmp.Diff(want, probe(load)); diff != "" {
		t.Errorf("the readiness probe (-want +got):\n%s", diff)
	}
	if load.StartupProbe == nil {
		t.Fatal("there is no startup probe, and the readiness probe alone is too rare to tell when the driver is there")
	}
	if diff := cmp.Diff(want, load.StartupProbe.Exec.Command); diff != "" {
		t.Errorf("the startup probe (-want +got):\n%s", diff)
	}
}

// TestDaemons builds the component that has the pods run NVIDIA's daemons, over the base.
func TestDaemons(t *testing.T) {
	pod := component(t, "daemons")
	load := pod.Containers[0]
	if load.Name != "load" || load.SecurityContext.Privileged == nil || !*load.SecurityContext.Privileged {
		t.Errorf("%s: %+v", load.Name, load.SecurityContext)
	}
	for what, args := range map[string][]string{"load": load.Args, "the startup probe": load.StartupProbe.Exec.Command, "the readiness probe": probe(load)} {
		if i := slices.Index(args, "--fabric-manager=auto"); i < 0 || slices.Contains(args, "--fabric-manager=never") || len(args) != map[bool]int{true: 6, false: 8}[what == "load"] {
			t.Errorf("%s has %q", what, args)
		}
	}
	for _, want := range []string{"/dev", "/host/dev", "/run/nvidia-fabricmanager", "/run/nvidia-persistenced"} {
		if !slices.ContainsFunc(load.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == want }) {
			t.Errorf("nothing is mounted at %s", want)
		}
	}
	if build := pod.InitContainers[0]; build.SecurityContext.Privileged != nil {
		t.Errorf("%s is privileged, too", build.Name)
	}
}

// components builds components of this folder over the base, as an overlay does.
func components(t *testing.T, names ...string) []runtime.Object {
	t.Helper()
	files := filesys.MakeFsInMemory()
	all := ""
	for i, folder := range append([]string{"base"}, names...) {
		found, err := os.ReadDir(filepath.Join(kubernetes, folder))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range found {
			if err := files.WriteFile("/"+folder+"/"+f.Name(), []byte(read(t, kubernetes, folder, f.Name()))); err != nil {
				t.Fatal(err)
			}
		}
		if i > 0 {
			all += "../" + folder + ","
		}
	}
	text := "namespace: cuda-driver\nresources: [../base]\ncomponents: [" + all + "]\n"
	if slices.Contains(names, "jobs") {
		text += job(t, files, "/overlay")
	}
	if err := files.WriteFile("/overlay/kustomization.yaml", []byte(text)); err != nil {
		t.Fatal(err)
	}
	return kustomize(t, files, "/overlay")
}

// job leaves a copy of the Job's manifest in a folder, and returns the lines of its
// kustomization, as the page has both.
func job(t *testing.T, files filesys.FileSystem, folder string) string {
	t.Helper()
	if err := files.WriteFile(folder+"/job.yaml", []byte(read(t, kubernetes, "jobs/job.yaml"))); err != nil {
		t.Fatal(err)
	}
	lines := regexp.MustCompile("(?s)```yaml\ncomponents:[^`]*/jobs[^`]*\n(configMapGenerator:\n[^`]*)```").FindStringSubmatch(read(t, kubernetes, "README.md"))
	if lines == nil {
		t.Fatal("the page has no kustomization with the Job's manifest")
	}
	return lines[1]
}

// component is the pod of the base with a component.
func component(t *testing.T, name string) corev1.PodSpec {
	t.Helper()
	return find[*appsv1.DaemonSet](t, components(t, name)).Spec.Template.Spec
}

// TestRegistry builds the component by which pods look in a registry, as whom a pull
// secret says: the base's containers have no other variable, and none can write to more.
func TestRegistry(t *testing.T) {
	pod, before := component(t, "registry"), base(t).Spec.Template.Spec
	build := pod.InitContainers[0]
	var secret *corev1.SecretVolumeSource
	for _, v := range pod.Volumes {
		if v.Name == "registry" {
			secret = v.Secret
		}
	}
	if secret == nil || !*secret.Optional || len(secret.Items) != 1 || secret.Items[0].Key != corev1.DockerConfigJsonKey || secret.Items[0].Path != "config.json" {
		t.Fatalf("the pull secret is %+v", secret)
	}
	if len(pod.ImagePullSecrets) != 1 || pod.ImagePullSecrets[0].Name != secret.SecretName {
		t.Errorf("the pods' image is pulled by %v", pod.ImagePullSecrets)
	}
	at := ""
	for _, m := range build.VolumeMounts[len(before.InitContainers[0].VolumeMounts):] {
		if !m.ReadOnly || m.RecursiveReadOnly == nil {
			t.Errorf("it can write to %s", m.MountPath)
		}
		if m.Name == "registry" {
			at = m.MountPath
		}
	}
	if env := build.Env[len(before.InitContainers[0].Env):]; len(env) != 1 || env[0].Name != "DOCKER_CONFIG" || env[0].Value != at {
		t.Errorf("its variables are %+v, and the secret is at %q", env, at)
	}
	// Of what loads, only that it does not go without options that somebody has pruned.
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if from := c.EnvFrom[0].ConfigMapRef; *from.Optional {
			t.Errorf("%s goes on without the options %s", c.Name, from.Name)
		}
	}
	*before.Containers[0].EnvFrom[0].ConfigMapRef.Optional = false
	if diff := cmp.Diff(before.Containers, pod.Containers); diff != "" {
		t.Errorf("what loads is another (-base +component):\n%s", diff)
	}
}

// TestFeatures builds the component by which nodes are labelled: only the container that
// loads writes where Node Feature Discovery's worker looks, on the node.
func TestFeatures(t *testing.T) {
	const dir = "/etc/kubernetes/node-feature-discovery/features.d" // its chart's hostPath
	pod := component(t, "nfd")
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		has := slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == dir && !m.ReadOnly })
		if has != (c.Name == "load") {
			t.Errorf("%s writes features: %t", c.Name, has)
		}
	}
	if !slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool { return v.HostPath != nil && v.HostPath.Path == dir }) {
		t.Error("they are not the node's")
	}
}

// TestMetrics builds the component that shows Prometheus what is known: only the container
// that loads listens, at the port that the annotations, and the README's PodMonitor, name.
func TestMetrics(t *testing.T) {
	template := find[*appsv1.DaemonSet](t, components(t, "metrics")).Spec.Template
	for _, c := range slices.Concat(template.Spec.InitContainers, template.Spec.Containers) {
		at := ""
		for _, e := range c.Env {
			if e.Name == "BUILDER_METRICS" {
				at = e.Value
			}
		}
		if c.Name != "load" {
			if at != "" || len(c.Ports) > 0 {
				t.Errorf("%s listens at %q, %v", c.Name, at, c.Ports)
			}
			continue
		}
		port := strings.TrimPrefix(at, ":")
		want := map[string]string{"prometheus.io/scrape": "true", "prometheus.io/port": port, "prometheus.io/path": "/metrics"}
		if diff := cmp.Diff(want, template.Annotations); diff != "" || len(c.Ports) != 1 || strconv.Itoa(int(c.Ports[0].ContainerPort)) != port || c.Ports[0].HostPort != 0 {
			t.Errorf("it listens at %q, its ports are %v, and the annotations (-want +got):\n%s", at, c.Ports, diff)
		}
		if !strings.Contains(read(t, kubernetes, "README.md"), "podMetricsEndpoints: [{ port: "+c.Ports[0].Name+" }]") {
			t.Errorf("the README's PodMonitor does not name the port %s", c.Ports[0].Name)
		}
	}
}

// hasTokens holds the tokens of pods to the containers that are to have one, each for what a
// pod's account is to have it for.
func hasTokens(t *testing.T, objects []runtime.Object, names ...string) {
	t.Helper()
	pod := find[*appsv1.DaemonSet](t, objects).Spec.Template.Spec
	if account := find[*corev1.ServiceAccount](t, objects); pod.ServiceAccountName != account.Name || pod.AutomountServiceAccountToken == nil || *pod.AutomountServiceAccountToken {
		t.Errorf("the account is %q, %v", pod.ServiceAccountName, pod.AutomountServiceAccountToken)
	}
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		mounted := ""
		for _, m := range c.VolumeMounts {
			if m.MountPath == "/var/run/secrets/kubernetes.io/serviceaccount" && m.ReadOnly {
				mounted = m.Name
			}
		}
		has := slices.ContainsFunc(pod.Volumes, func(v corev1.Volume) bool {
			return v.Name == mounted && v.Projected != nil && len(v.Projected.Sources) == 3
		})
		if has != slices.Contains(names, c.Name) {
			t.Errorf("%s has a token: %t", c.Name, has)
		}
	}
}

// gives holds what a role gives an account to what it is to give.
func gives(t *testing.T, account *corev1.ServiceAccount, role *rbacv1.Role, binding *rbacv1.RoleBinding, want map[string][]string) {
	t.Helper()
	may := map[string][]string{}
	for _, r := range role.Rules {
		for _, resource := range r.Resources {
			may[strings.Join(r.APIGroups, ",")+"/"+resource] = r.Verbs
		}
	}
	if diff := cmp.Diff(want, may); diff != "" {
		t.Errorf("the account may (-want +got):\n%s", diff)
	}
	if s := binding.Subjects; len(s) != 1 || s[0].Kind != "ServiceAccount" || s[0].Name != account.Name || s[0].Namespace != account.Namespace || binding.RoleRef.Name != role.Name || binding.Namespace != role.Namespace {
		t.Errorf("the role is of %+v, and the account is %s/%s", s, account.Namespace, account.Name)
	}
}

// TestEvents builds the component by which Kubernetes is told, with and without the one for
// Jobs: both containers have a token, with which events can be created, here, and no more.
func TestEvents(t *testing.T) {
	for _, names := range [][]string{{"events"}, {"registry", "jobs", "events"}, {"events", "registry", "jobs"}} {
		objects := components(t, names...)
		hasTokens(t, objects, "build", "load")
		set, account := find[*appsv1.DaemonSet](t, objects), find[*corev1.ServiceAccount](t, objects)
		role := find[*rbacv1.Role](t, objects)
		gives(t, account, role, find[*rbacv1.RoleBinding](t, objects), map[string][]string{"/events": {"create"}})
		if role.Namespace != set.Namespace {
			t.Errorf("the role is of %s, and the pods are in %s", role.Namespace, set.Namespace)
		}
		pod := set.Spec.Template.Spec
		for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
			got := map[string]string{}
			for _, e := range c.Env {
				if e.ValueFrom != nil && e.ValueFrom.FieldRef != nil {
					got[e.Name] = e.ValueFrom.FieldRef.FieldPath
				} else if e.Name == "BUILDER_EVENTS" {
					got[e.Name] = e.Value
				}
			}
			want := map[string]string{"BUILDER_EVENTS": "true", "POD_NAMESPACE": "metadata.namespace", "POD_NAME": "metadata.name", "POD_UID": "metadata.uid", "NODE_NAME": "spec.nodeName"}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("%q, %s (-want +got):\n%s", names, c.Name, diff)
			}
		}
	}
}

// TestAllComponents builds all of them at once: nothing is there twice, nor lost.
func TestAllComponents(t *testing.T) {
	objects := components(t, "daemons", "registry", "jobs", "nfd", "metrics", "events")
	pod := find[*appsv1.DaemonSet](t, objects).Spec.Template.Spec
	once := func(what string, names []string) {
		t.Helper()
		slices.Sort(names)
		if len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%s: %q", what, names)
		}
	}
	var volumes []string
	for _, v := range pod.Volumes {
		volumes = append(volumes, v.Name)
	}
	once("volumes", volumes)
	var mounted []string
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		var env, mounts []string
		for _, e := range c.Env {
			env = append(env, e.Name)
		}
		for _, m := range c.VolumeMounts {
			mounts = append(mounts, m.MountPath)
			mounted = append(mounted, m.Name)
		}
		once(c.Name+"'s variables", env)
		once(c.Name+"'s mounts", mounts)
	}
	slices.Sort(mounted)
	if diff := cmp.Diff(slices.Sorted(slices.Values(volumes)), slices.Compact(mounted)); diff != "" {
		t.Errorf("volumes, and what is mounted of them (-volumes +mounted):\n%s", diff)
	}
}

// TestJobs builds the component by which a node has a Job build, and the Job itself: only
// the container that builds has a token, its account may do no more than make Jobs and
// look at them where these run, and that namespace lets no pod have a right on its node.
func TestJobs(t *testing.T) {
	objects := components(t, "registry", "jobs")
	pod := find[*appsv1.DaemonSet](t, objects).Spec.Template.Spec
	account := find[*corev1.ServiceAccount](t, objects)
	template := find[*corev1.ConfigMap](t, objects)
	hasTokens(t, objects, "build")
	at := ""
	for _, v := range pod.Volumes {
		if v.ConfigMap != nil && v.ConfigMap.Name == template.Name {
			at = v.Name
		}
	}
	build := pod.InitContainers[0]
	named := slices.IndexFunc(build.Env, func(e corev1.EnvVar) bool { return e.Name == "BUILDER_BUILD_JOB" })
	if named < 0 || !slices.ContainsFunc(build.VolumeMounts, func(m corev1.VolumeMount) bool {
		return m.Name == at && m.MountPath == path.Dir(build.Env[named].Value)
	}) || template.Data[path.Base(build.Env[named].Value)] == "" {
		t.Errorf("the manifest is in %q of %+v", at, build.VolumeMounts)
	}

	where := kustomize(t, filesys.MakeFsOnDisk(), kubernetes+"/build")
	namespace, role, binding := find[*corev1.Namespace](t, where), find[*rbacv1.Role](t, where), find[*rbacv1.RoleBinding](t, where)
	find[*corev1.ResourceQuota](t, where)
	gives(t, account, role, binding, map[string][]string{"batch/jobs": {"create", "get", "list", "watch"}, "/pods": {"get", "list"}})

	scheme := runtime.NewScheme()
	if err := batchv1.AddToScheme(scheme); err != nil {
		t.Fatal(err)
	}
	object, _, err := serializer.NewCodecFactory(scheme, serializer.EnableStrict).UniversalDeserializer().Decode([]byte(template.Data["job.yaml"]), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	job := object.(*batchv1.Job)
	if job.Namespace != namespace.Name {
		t.Errorf("the Job is of %s, and its namespace is %s", job.Namespace, namespace.Name)
	}
	if job.Spec.Template.Spec.ServiceAccountName != "" || *job.Spec.Template.Spec.AutomountServiceAccountToken {
		t.Error("the Job has a token")
	}
	policy, err := psa.NewEvaluator(psa.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	level := psaapi.Level(namespace.Labels[psaapi.EnforceLevelLabel])
	if level != psaapi.LevelBaseline {
		t.Errorf("the namespace enforces %q", level)
	}
	for _, r := range policy.EvaluatePod(psaapi.LevelVersion{Level: level, Version: psaapi.LatestVersion()}, &job.Spec.Template.ObjectMeta, &job.Spec.Template.Spec) {
		if !r.Allowed {
			t.Errorf("Pod Security: %s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
}

// TestOverlay builds the overlay that the README shows, over the base.
func TestOverlay(t *testing.T) {
	overlay := block(t, read(t, kubernetes, "README.md"), "kustomization.yaml")
	files := filesys.MakeFsInMemory()
	for _, name := range []string{"kustomization.yaml", "namespace.yaml", "serviceaccount.yaml", "daemonset.yaml"} {
		if err := files.WriteFile("/base/"+name, []byte(read(t, kubernetes, "base", name))); err != nil {
			t.Fatal(err)
		}
	}
	overlay = strings.Replace(overlay, "https://github.com/k8sp/cuda//deploy/kubernetes/base?ref=main", "../base", 1)
	if err := files.WriteFile("/overlay/kustomization.yaml", []byte(overlay)); err != nil {
		t.Fatal(err)
	}
	objects := kustomize(t, files, "/overlay")
	pod := find[*appsv1.DaemonSet](t, objects).Spec.Template.Spec
	options := find[*corev1.ConfigMap](t, objects)
	for _, c := range slices.Concat(pod.InitContainers, pod.Containers) {
		if !strings.HasPrefix(c.Image, "registry.example.com/cuda-builder:") {
			t.Errorf("%s has the image %s, not the overlay's", c.Name, c.Image)
		}
		if got := c.EnvFrom[0].ConfigMapRef.Name; got != options.Name {
			t.Errorf("%s reads its options from %q, the overlay writes them to %q", c.Name, got, options.Name)
		}
	}
	if len(options.Data) == 0 {
		t.Error("the overlay sets no option")
	}
	if options.Name == "cuda-driver" {
		t.Error("the ConfigMap's name has no hash: a changed option would not change the pods")
	}
}

// block is the fenced block of a Markdown text whose first line is a comment
// that names a file.
func block(t *testing.T, text, file string) string {
	t.Helper()
	_, rest, ok := strings.Cut(text, "```yaml\n# "+file+"\n")
	if !ok {
		t.Fatalf("there is no block that begins with # %s", file)
	}
	content, _, _ := strings.Cut(rest, "```")
	return content
}
