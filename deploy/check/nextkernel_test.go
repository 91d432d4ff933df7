package check

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	admissionv1 "k8s.io/api/admissionregistration/v1"
	appsv1 "k8s.io/api/apps/v1"
	corev1 "k8s.io/api/core/v1"
	networkingv1 "k8s.io/api/networking/v1"
	rbacv1 "k8s.io/api/rbac/v1"
	psaapi "k8s.io/pod-security-admission/api"
	psa "k8s.io/pod-security-admission/policy"
	"sigs.k8s.io/kustomize/kyaml/filesys"
)

func agents(t *testing.T) *appsv1.DaemonSet {
	t.Helper()
	return find[*appsv1.DaemonSet](t, kustomize(t, filesys.MakeFsOnDisk(), kubernetes+"/next-kernel"))
}

func container(t *testing.T, pod corev1.PodSpec, name string) corev1.Container {
	t.Helper()
	i := slices.IndexFunc(pod.Containers, func(c corev1.Container) bool { return c.Name == name })
	if i < 0 {
		t.Fatalf("there is no container %s", name)
	}
	return pod.Containers[i]
}

// sees is what of the node a container sees, and where it can write.
func sees(pod corev1.PodSpec, c corev1.Container) (node, writes []string) {
	for _, m := range c.VolumeMounts {
		for _, v := range pod.Volumes {
			if v.Name == m.Name && v.HostPath != nil {
				node = append(node, v.HostPath.Path)
			}
		}
		if !m.ReadOnly {
			writes = append(writes, m.MountPath)
		}
	}
	slices.Sort(node)
	slices.Sort(writes)
	return node, writes
}

// TestNextKernel holds the agents to what each of their halves may do: the one that mounts
// is privileged, and has no account, no secret, no option, no share and no port; the other
// may what the base's build may, and sees less.
func TestNextKernel(t *testing.T) {
	set := agents(t)
	pod, ofBase := set.Spec.Template.Spec, base(t).Spec.Template.Spec
	if diff := cmp.Diff(ofBase.Affinity, pod.Affinity); diff != "" {
		t.Errorf("it is for other nodes than the base (-base +agents):\n%s", diff)
	}
	if diff := cmp.Diff(ofBase.Tolerations, pod.Tolerations); diff != "" {
		t.Errorf("it tolerates something else (-base +agents):\n%s", diff)
	}
	if set.Spec.UpdateStrategy.Type != appsv1.RollingUpdateDaemonSetStrategyType {
		t.Errorf("it is updated by %s", set.Spec.UpdateStrategy.Type)
	}
	if pod.HostNetwork || pod.HostPID || pod.HostIPC || *pod.AutomountServiceAccountToken {
		t.Error("the pods are in one of the host's namespaces, or have a token")
	}
	watch, build := container(t, pod, "watch"), container(t, pod, "build")
	if w := watch.SecurityContext; w.Privileged == nil || !*w.Privileged || !*w.ReadOnlyRootFilesystem {
		t.Errorf("watch: %+v", w)
	}
	if len(watch.EnvFrom) > 0 || len(watch.Ports) > 0 {
		t.Errorf("watch has options of %v and the ports %v", watch.EnvFrom, watch.Ports)
	}
	for _, tt := range []struct {
		c            corev1.Container
		node, writes string
	}{
		{watch, "/boot /dev /run", "/next /tmp"},
		{build, "/home/core/share /run/cuda-next", "/opt/share /run/cuda-next /tmp /var/lib/nvidia"},
	} {
		node, writes := sees(pod, tt.c)
		if diff := cmp.Diff([2]string{tt.node, tt.writes}, [2]string{strings.Join(node, " "), strings.Join(writes, " ")}); diff != "" {
			t.Errorf("%s sees of the node, and writes to (-want +got):\n%s", tt.c.Name, diff)
		}
		for _, m := range tt.c.VolumeMounts {
			if m.ReadOnly && (m.RecursiveReadOnly == nil || *m.RecursiveReadOnly != corev1.RecursiveReadOnlyIfPossible) {
				t.Errorf("%s can write to what is mounted below %s", tt.c.Name, m.MountPath)
			}
		}
		if tt.c.Resources.Limits.Memory().IsZero() || tt.c.TerminationMessagePolicy != corev1.TerminationMessageFallbackToLogsOnError {
			t.Errorf("%s has no limit, or does not say why it failed", tt.c.Name)
		}
	}
	if diff := cmp.Diff(ofBase.InitContainers[0].SecurityContext, build.SecurityContext); diff != "" {
		t.Errorf("build may something else than the base's (-base +agents):\n%s", diff)
	}
	if diff := cmp.Diff(ofBase.InitContainers[0].EnvFrom, build.EnvFrom); diff != "" {
		t.Errorf("build has other options than the base's (-base +agents):\n%s", diff)
	}
}

// TestNextKernelAsks: what is watched, answered and asked is in one place, port and folder.
func TestNextKernelAsks(t *testing.T) {
	objects := kustomize(t, filesys.MakeFsOnDisk(), kubernetes+"/next-kernel")
	set, policy := find[*appsv1.DaemonSet](t, objects), find[*networkingv1.NetworkPolicy](t, objects)
	gate := find[*appsv1.Deployment](t, kustomize(t, filesys.MakeFsOnDisk(), kubernetes+"/fluo"))
	build, watch := container(t, set.Spec.Template.Spec, "build"), container(t, set.Spec.Template.Spec, "watch")
	folder := watch.Args[len(watch.Args)-1]
	if !slices.Contains(build.Args, "--watched="+folder) || !slices.ContainsFunc(watch.VolumeMounts, func(m corev1.VolumeMount) bool { return m.MountPath == folder }) {
		t.Errorf("one leaves captures in %s, and the other looks for them by %q", folder, build.Args)
	}
	port := build.Ports[0]
	if !slices.Contains(build.Args, "--listen=:9711") || port.ContainerPort != 9711 || build.ReadinessProbe.HTTPGet.Port.StrVal != port.Name {
		t.Errorf("it listens by %q at %+v", build.Args, port)
	}
	from := policy.Spec.Ingress[0]
	if diff := cmp.Diff(set.Spec.Template.Labels, policy.Spec.PodSelector.MatchLabels); diff != "" || len(policy.Spec.Ingress) != 1 || from.Ports[0].Port.IntVal != port.ContainerPort {
		t.Errorf("the policy is for %+v", policy.Spec)
	}
	if diff := cmp.Diff(gate.Spec.Template.Labels, from.From[0].PodSelector.MatchLabels); diff != "" {
		t.Errorf("another asks than may (-gate +policy):\n%s", diff)
	}
	defaults := read(t, "../../cmd/builder/gate.go")
	for _, want := range []string{`"namespace", "` + set.Namespace + `"`, `"agents", "` + set.Name + `"`, `"agents-port", 9711`} {
		if !strings.Contains(defaults, want) {
			t.Errorf("the gate asks for others by itself than %s", want)
		}
	}
}

// TestFLUO: the gate's account may list nodes and patch them, no more of them than one
// annotation, and see who answers; and its pod may nothing on a node.
func TestFLUO(t *testing.T) {
	objects := kustomize(t, filesys.MakeFsOnDisk(), kubernetes+"/fluo")
	account, gate := find[*corev1.ServiceAccount](t, objects), find[*appsv1.Deployment](t, objects)
	may := map[string][]string{}
	for _, r := range find[*rbacv1.ClusterRole](t, objects).Rules {
		may["cluster "+strings.Join(r.Resources, ",")] = r.Verbs
	}
	for _, r := range find[*rbacv1.Role](t, objects).Rules {
		may[strings.Join(slices.Concat(r.Resources, r.ResourceNames), " ")] = r.Verbs
	}
	want := map[string][]string{"cluster nodes": {"list", "patch"}, "pods": {"list"}, "daemonsets " + agents(t).Name: {"get"}}
	if diff := cmp.Diff(want, may); diff != "" {
		t.Errorf("it may (-want +got):\n%s", diff)
	}
	for _, subjects := range [][]rbacv1.Subject{find[*rbacv1.ClusterRoleBinding](t, objects).Subjects, find[*rbacv1.RoleBinding](t, objects).Subjects} {
		if len(subjects) != 1 || subjects[0].Name != account.Name || subjects[0].Namespace != account.Namespace {
			t.Errorf("the roles are of %+v", subjects)
		}
	}
	policy := find[*admissionv1.ValidatingAdmissionPolicy](t, objects)
	user := "system:serviceaccount:" + account.Namespace + ":" + account.Name
	if c := policy.Spec.MatchConditions; len(c) != 1 || !strings.Contains(c[0].Expression, "'"+user+"'") || find[*admissionv1.ValidatingAdmissionPolicyBinding](t, objects).Spec.PolicyName != policy.Name {
		t.Errorf("the policy is of %+v, and the account is %s", c, user)
	}
	pod := gate.Spec.Template
	if pod.Spec.ServiceAccountName != account.Name || *account.AutomountServiceAccountToken || !*pod.Spec.AutomountServiceAccountToken {
		t.Errorf("the gate's account is %s", pod.Spec.ServiceAccountName)
	}
	evaluator, err := psa.NewEvaluator(psa.DefaultChecks(), nil)
	if err != nil {
		t.Fatal(err)
	}
	for _, r := range evaluator.EvaluatePod(psaapi.LevelVersion{Level: psaapi.LevelRestricted, Version: psaapi.LatestVersion()}, &pod.ObjectMeta, &pod.Spec) {
		if !r.Allowed {
			t.Errorf("Pod Security: %s: %s", r.ForbiddenReason, r.ForbiddenDetail)
		}
	}
}

// TestNextKernelByJobs has the component jobs give the agents what it gives the base, and
// leave the one that is privileged alone.
func TestNextKernelByJobs(t *testing.T) {
	files := filesys.MakeFsOnDisk()
	overlay := t.TempDir()
	top, err := filepath.Abs(kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	relative, err := filepath.Rel(overlay, top)
	if err != nil {
		t.Fatal(err)
	}
	text := "namespace: cuda-driver\nresources: [" + relative + "/base, " + relative + "/next-kernel, " + relative + "/fluo]\ncomponents: [" + relative + "/registry, " + relative + "/jobs]\n" +
		job(t, files, overlay) + "  - {name: cuda-driver, literals: [BUILDER_DRIVER_VERSION=580.126.09]}\n"
	if err := files.WriteFile(filepath.Join(overlay, "kustomization.yaml"), []byte(text)); err != nil {
		t.Fatal(err)
	}
	var set, first *appsv1.DaemonSet
	var options []string
	for _, o := range kustomize(t, files, overlay) {
		switch o := o.(type) {
		case *appsv1.DaemonSet:
			if o.Name == "cuda-next-kernel" {
				set = o
			} else {
				first = o
			}
		case *corev1.ConfigMap:
			options = append(options, o.Name)
		}
	}
	pod := set.Spec.Template.Spec
	build, ofBase := container(t, pod, "build"), first.Spec.Template.Spec.InitContainers[0]
	if pod.ServiceAccountName != first.Spec.Template.Spec.ServiceAccountName {
		t.Errorf("its account is %q", pod.ServiceAccountName)
	}
	for _, name := range []string{"BUILDER_BUILD_JOB", "DOCKER_CONFIG"} {
		same := func(e corev1.EnvVar) bool { return e.Name == name }
		got, want := slices.IndexFunc(build.Env, same), slices.IndexFunc(ofBase.Env, same)
		if got < 0 || want < 0 || build.Env[got] != ofBase.Env[want] {
			t.Errorf("%s is another, or not there", name)
		}
	}
	token := func(c corev1.Container) bool {
		return slices.ContainsFunc(c.VolumeMounts, func(m corev1.VolumeMount) bool { return m.Name == "account" || m.Name == "registry" })
	}
	if !token(build) || token(container(t, pod, "watch")) {
		t.Error("who builds has no token, or who watches has one")
	}
	for _, c := range []corev1.Container{build, ofBase} {
		if name := c.EnvFrom[0].ConfigMapRef.Name; !slices.Contains(options, name) {
			t.Errorf("%s has options of %s, which are not among %q", c.Name, name, options)
		}
	}
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		if volumes[v.Name] {
			t.Errorf("there are two volumes %s", v.Name)
		}
		volumes[v.Name] = true
	}
}
