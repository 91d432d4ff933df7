//go:build cluster

package cluster

import (
	"context"
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
)

var (
	needImage    = shared.Image(lab.CUDAImage, (*lab.Lab).MakeCUDAImage)
	needRegistry = shared.Image(lab.RegistryImage, (*lab.Lab).MakeRegistryImage)
	needKernel   = shared.Thing((*lab.Lab).Kernel)
	needDriver   = shared.Thing((*lab.Lab).Driver)
	needHost     = shared.Thing((*lab.Lab).Host)
)

// Who may push and pull, by a password: htpasswd is of it, by bcrypt.
const (
	user     = "fleet"
	password = "correct horse"
	htpasswd = user + ":$2a$10$gi51QE0BIpwgKlccSgvDjuwcB16wGAvHOJCMWfhNLjTkWSBbSXiR6\n"
)

// builderImage is the image's name in this cluster.
const builderImage = address + ":5000/cuda-builder:1"

// TestKubelet has deploy/'s pods run as they do on a node: by a real kubelet, containerd and
// runc, as a real scheduler has them. What the registry has not a Job's pod builds there, of
// real sources; it is killed midway once. The node pulls it, reboots, and has nothing to do.
// What is not real: the node's /proc, which is the lab's host's, as the machine's own kernel
// has no modules; nor can the driver be loaded, therefore, which the pod has to say.
func TestKubelet(t *testing.T) {
	p := startPlane(t)
	needImage(t)
	if out, err := exec.Command("docker", "tag", lab.CUDAImage, builderImage).CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rmi", builderImage).Run() })
	server, err := shared.Lab(t).Serve(t.Context(), needKernel(t))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	driver, host := needDriver(t), needHost(t)
	packages := httptest.NewServer(http.FileServer(http.Dir(filepath.Dir(driver.Run))))
	t.Cleanup(packages.Close)
	n := startNode(p, "gpu-1", []string{builderImage},
		map[string]string{"5000": startRegistry(t), "8080": strings.TrimPrefix(server.URL, "http://"), "8081": packages.Listener.Addr().String()},
		processes(t, host)+":/lab/proc:ro", filepath.Join(host.Dir, "etc/os-release")+":/etc/os-release:ro")

	kubernetes, err := filepath.Abs("../../deploy/kubernetes")
	if err != nil {
		t.Fatal(err)
	}
	// As the page has it: a namespace and a secret each, and a ConfigMap with options.
	secret := []string{"create", "secret", "docker-registry", "cuda-registry", "--docker-server", address + ":5000", "--docker-username", user, "--docker-password", password}
	n.must("apply", "--kustomize", kubernetes+"/build")
	n.must(append(secret, "--namespace", "cuda-build")...)
	n.must("create", "configmap", "cuda-build", "--namespace", "cuda-build", "--from-literal=BUILDER_REGISTRY_PLAIN_HTTP=true",
		"--from-literal=BUILDER_SOURCE=http://"+address+":8080/coreos/linux.git",
		"--from-literal=BUILDER_DRIVER_BASE_URL=http://"+address+":8081", "--from-literal=BUILDER_DRIVER_SHA256="+digest(t, driver.Run))
	n.must("create", "namespace", "cuda-driver")
	n.must(append(secret, "--namespace", "cuda-driver")...)
	n.await("the node", func(context.Context) (string, bool) {
		out, err := n.kubectl("wait", "--for=condition=Ready", "--timeout=1s", "node/gpu-1")
		return strings.TrimSpace(out), err == nil
	})
	overlay := fleet(t, kubernetes)
	n.must("apply", "--kustomize", overlay)

	t.Run("a Job's pod builds, also after it was deleted midway", func(t *testing.T) {
		first := n.await("a Job's pod that compiles", func(context.Context) (string, bool) {
			pods := n.pods("cuda-build")
			if len(pods) == 0 {
				return n.brief("cuda-driver"), false
			}
			out, _ := exec.Command("docker", "exec", n.container, "bash", "-c", "cat /var/log/pods/cuda-build_"+pods[0].Name+"_*/build/*.log").CombinedOutput()
			if !strings.Contains(string(out), `\"stage\":\"build\"`) && !strings.Contains(string(out), `"stage":"build"`) {
				lines := strings.Split(strings.TrimSpace(string(out)), "\n")
				return n.brief("cuda-build") + ": " + lines[len(lines)-1], false
			}
			return pods[0].Name, true
		})
		n.must("delete", "pod", "--namespace", "cuda-build", first)
		n.await("the Job's end", func(context.Context) (string, bool) {
			out := n.must("get", "jobs", "--namespace", "cuda-build", "--output", "jsonpath={range .items[*]}{.metadata.name} {.status.conditions[?(@.status=='True')].type} {end}")
			return out, strings.Contains(out, "Complete")
		})
	})
	var uid string
	t.Run("the node pulls what it built", func(t *testing.T) {
		pod := n.driverPod(t, func(pod corev1.Pod) bool { return ended(pod, "build") != nil })
		uid = string(pod.UID)
		if e := ended(pod, "build"); e.ExitCode != 0 {
			t.Fatalf("%+v", e)
		}
		log := n.log(t, pod, "build")
		if !strings.Contains(log, "what was built elsewhere serves") {
			t.Errorf("%s", log)
		}
		n.docker("exec", n.container, "test", "-s", "/home/core/share/modules/"+host.Release+"/"+driver.Version+"/manifest.json")
		// What it sees of the node it cannot write, nor what is mounted below.
		for _, status := range pod.Status.InitContainerStatuses {
			for _, mount := range status.VolumeMounts {
				if strings.HasPrefix(mount.MountPath, "/host/") && mount.MountPath != "/host/proc" && (mount.RecursiveReadOnly == nil || *mount.RecursiveReadOnly != corev1.RecursiveReadOnlyEnabled) {
					t.Errorf("%s is mounted as %+v", mount.MountPath, mount)
				}
			}
		}
	})
	t.Run("what cannot be loaded says so in the pod", func(t *testing.T) {
		pod := n.driverPod(t, func(pod corev1.Pod) bool { return ended(pod, "load") != nil })
		e := ended(pod, "load")
		if e.ExitCode != 17 {
			t.Errorf("%+v", e)
		}
		if out := n.must("describe", "pod", "--namespace", "cuda-driver", pod.Name); !strings.Contains(out, "the host root is of kernel "+host.Release+", and the kernel that runs here is ") {
			t.Errorf("%s", out)
		}
	})
	t.Run("a reboot", func(t *testing.T) {
		n.docker("restart", "--time", "0", n.container)
		pod := n.driverPod(t, func(pod corev1.Pod) bool {
			e := ended(pod, "build")
			return e != nil && string(pod.UID) == uid && restarts(pod, "build") > 0
		})
		if e := ended(pod, "build"); e.ExitCode != 0 {
			t.Fatalf("%+v", e)
		}
		if log := n.log(t, pod, "build"); !strings.Contains(log, "there are such modules in the share") || strings.Contains(log, `"stage":"build"`) {
			t.Errorf("%s", log)
		}
	})
	t.Run("a Job that failed", func(t *testing.T) {
		edit(t, filepath.Join(overlay, "kustomization.yaml"), "BUILDER_DRIVER_VERSION="+driver.Version, "BUILDER_DRIVER_VERSION=535.1.2")
		n.must("apply", "--kustomize", overlay)
		n.must("delete", "pod", "--namespace", "cuda-driver", "--all")
		pod := n.driverPod(t, func(pod corev1.Pod) bool { e := ended(pod, "build"); return e != nil && e.ExitCode != 0 })
		// Its own sentence, by the pod's status and by an event.
		out := n.must("describe", "pod", "--namespace", "cuda-driver", pod.Name)
		for _, want := range []string{
			`"kind":"driver"`, "Exit Code:    11",
			"cuda-builder       the Job that builds for this node has failed: driver 535.1.2 for x86_64 is not to be had: http://" + address + ":8081/",
			"kubectl --namespace cuda-build delete job cuda-build-",
		} {
			if !strings.Contains(out, want) {
				t.Errorf("it does not say %q:\n%s", want, out)
			}
		}
	})
}

// startRegistry runs Debian's, and returns its address.
func startRegistry(t *testing.T) string {
	t.Helper()
	name, at := lab.ContainerName("registry"), "127.0.0.1:"+freePort(t)
	users := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(users, []byte(htpasswd), 0o644); err != nil {
		t.Fatal(err)
	}
	out, err := exec.Command("docker", "run", "--detach", "--network", "host", "--name", name, "-e", "REGISTRY_HTTP_ADDR="+at, "-v", users+":/etc/docker/registry/htpasswd:ro",
		needRegistry(t), "docker-registry", "serve", "/etc/docker/registry/config.yml").CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", "--volumes", name).Run() })
	for t.Context().Err() == nil {
		if c, err := net.Dial("tcp", at); err == nil {
			_ = c.Close()
			return at
		}
		time.Sleep(100 * time.Millisecond)
	}
	t.Fatal(t.Context().Err())
	return ""
}

// processes is a host's /proc, with a file for the keys of this machine's to be mounted on.
func processes(t *testing.T, host lab.Host) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "proc")
	if err := os.CopyFS(dir, os.DirFS(filepath.Join(host.Dir, "proc"))); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "keys"), nil, 0o644); err != nil {
		t.Fatal(err)
	}
	return dir
}

func digest(t *testing.T, file string) string {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%x", sha256.Sum256(content))
}

// fleet is a folder with the kustomization of a cluster that builds by Jobs. Of two CPUs the
// pods ask for less; and they get the lab's host's /proc.
func fleet(t *testing.T, kubernetes string) string {
	t.Helper()
	dir := t.TempDir()
	relative, err := filepath.Rel(dir, kubernetes)
	if err != nil {
		t.Fatal(err)
	}
	job, err := os.ReadFile(filepath.Join(kubernetes, "jobs/job.yaml"))
	if err != nil {
		t.Fatal(err)
	}
	driver := needDriver(t)
	for name, text := range map[string]string{
		"job.yaml": string(job),
		"kustomization.yaml": strings.NewReplacer("K/", relative+"/", "WANTED", driver.Version, "ADDRESS", address).Replace(`
namespace: cuda-driver
resources: [K/base]
components: [K/registry, K/jobs, K/events]
images: [{ name: cuda, newName: "ADDRESS:5000/cuda-builder", newTag: "1" }]
configMapGenerator:
  - name: cuda-driver
    literals:
      - BUILDER_DRIVER_VERSION=WANTED
      - BUILDER_MODULE_TYPE=proprietary
      - BUILDER_REGISTRY=ADDRESS:5000/cuda
      - BUILDER_REGISTRY_PLAIN_HTTP=true
  - { name: cuda-build-job, files: [job.yaml] }
patches:
  - target: { kind: DaemonSet, name: cuda-driver }
    patch: |-
      - { op: add, path: /spec/template/spec/volumes/-, value: { name: proc, hostPath: { path: /lab/proc } } }
      - { op: add, path: /spec/template/spec/initContainers/0/volumeMounts/-, value: { name: proc, mountPath: /host/proc, readOnly: true } }
      - { op: add, path: /spec/template/spec/containers/0/volumeMounts/-, value: { name: proc, mountPath: /host/proc, readOnly: true } }
      - { op: replace, path: /spec/template/spec/initContainers/0/resources/requests/cpu, value: 100m }
`),
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	edit(t, filepath.Join(dir, "job.yaml"), "image: cuda\n", "image: "+builderImage+"\n")
	edit(t, filepath.Join(dir, "job.yaml"), `requests: { cpu: "2",`, "requests: { cpu: 500m,")
	return dir
}

func edit(t *testing.T, file, from, to string) {
	t.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	edited := strings.Replace(string(text), from, to, 1)
	if edited == string(text) {
		t.Fatalf("%s has no %q:\n%s", file, from, text)
	}
	if err := os.WriteFile(file, []byte(edited), 0o644); err != nil {
		t.Fatal(err)
	}
}

// pods are those of a namespace that are not on their way out.
func (n *node) pods(namespace string) []corev1.Pod {
	n.Helper()
	var list corev1.PodList
	if err := json.Unmarshal([]byte(n.must("get", "pods", "--namespace", namespace, "--output", "json")), &list); err != nil {
		n.Fatal(err)
	}
	var there []corev1.Pod
	for _, pod := range list.Items {
		if pod.DeletionTimestamp == nil {
			there = append(there, pod)
		}
	}
	return there
}

// brief is how far the pods of a namespace are.
func (n *node) brief(namespace string) string {
	n.Helper()
	return strings.Join(strings.Fields(n.must("get", "pods", "--namespace", namespace, "--no-headers", "--output", "custom-columns=:metadata.name,:status.phase,:status.initContainerStatuses[*].state,:status.containerStatuses[*].state,:status.conditions[?(@.status=='False')].message")), " ")
}

// driverPod is the driver's on the node, once something is so of it.
func (n *node) driverPod(t *testing.T, is func(corev1.Pod) bool) (pod corev1.Pod) {
	t.Helper()
	n.await("the driver's pod", func(context.Context) (string, bool) {
		for _, pod = range n.pods("cuda-driver") {
			if is(pod) {
				return "", true
			}
		}
		return n.brief("cuda-driver"), false
	})
	return pod
}

// ended is how a container of a pod has ended, or had before it waits to be started again;
// nil while it runs.
func ended(pod corev1.Pod, container string) *corev1.ContainerStateTerminated {
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if status.Name != container || status.State.Running != nil {
			continue
		}
		if status.State.Terminated != nil {
			return status.State.Terminated
		}
		return status.LastTerminationState.Terminated
	}
	return nil
}

func restarts(pod corev1.Pod, container string) int32 {
	for _, status := range append(pod.Status.InitContainerStatuses, pod.Status.ContainerStatuses...) {
		if status.Name == container {
			return status.RestartCount
		}
	}
	return 0
}

// log is what a container of a pod has said, as the node keeps it.
func (n *node) log(t *testing.T, pod corev1.Pod, container string) string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "docker", "exec", n.container, "bash", "-c", fmt.Sprintf("cat $(ls /var/log/pods/%s_%s_%s/%s/*.log | sort --version-sort | tail -n 1)", pod.Namespace, pod.Name, pod.UID, container)).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	return string(out)
}
