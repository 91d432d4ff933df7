//go:build cluster

package cluster

import (
	"cmp"
	"context"
	_ "embed"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
)

var (
	needContainerd = shared.Thing((*lab.Lab).Containerd)
	needNodeImage  = shared.Image(lab.NodeImage, (*lab.Lab).MakeNodeImage)
)

//go:embed node.sh
var nodeScript string

// address is the cluster's own of its API server: at further ports of it, pods on a node of
// [startNode] reach what the test has for them.
const address = "10.96.0.1"

// node is one of a cluster, with a real kubelet, containerd and runc, in a container.
type node struct {
	*plane
	name, container, cgroup string
}

// startNode starts one, with a scheduler for it. Images are Docker's, by the names that pods
// give them; ports of [address] lead to the addresses that relays has; files are mounted, as
// docker run's -v has them.
func startNode(p *plane, name string, images []string, relays map[string]string, files ...string) *node {
	p.Helper()
	n := &node{plane: p, name: name, container: lab.ContainerName("node"), cgroup: lab.ContainerName("pods")}
	relays["443"] = strings.TrimPrefix(p.url, "https://")
	sockets := p.TempDir()
	for port, to := range relays {
		n.relay(filepath.Join(sockets, port), to)
	}
	kubeconfig, err := os.ReadFile(filepath.Join(p.dir, "kubeconfig"))
	if err != nil {
		p.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(p.dir, "node.kubeconfig"), []byte(strings.ReplaceAll(string(kubeconfig), p.url, "https://"+address)), 0o600); err != nil {
		p.Fatal(err)
	}
	archive := filepath.Join(p.TempDir(), "images.tar")
	image := needNodeImage(p.T)
	// The container that holds a pod's network: a program that waits, in an image of its own.
	importPause := exec.CommandContext(p.Context(), "bash", "-euo", "pipefail", "-c",
		`docker run --rm "$0" tar --create --directory /bin busybox | docker import --change 'ENTRYPOINT ["/busybox", "sleep", "1000000"]' - pause:1`, image)
	if out, err := importPause.CombinedOutput(); err != nil {
		p.Fatalf("%v\n%s", err, out)
	}
	n.docker(append([]string{"save", "--output", archive, "pause:1"}, images...)...)

	args := []string{
		"run", "--detach", "--name", n.container, "--hostname", name,
		"--security-opt", "seccomp=unconfined", "--security-opt", "apparmor=unconfined", "--security-opt", "systempaths=unconfined",
		"--device", "/dev/kmsg", "-v", "/sys/fs/cgroup:/sys/fs/cgroup", "-v", "/var/lib/containerd", "-v", "/var/lib/kubelet", "-v", "/home",
		"-v", sockets + ":/relay:ro", "-v", p.dir + ":/plane:ro", "-v", archive + ":/images.tar:ro", "-v", p.bin + ":/programs/kubernetes:ro", "-v", needContainerd(p.T) + ":/programs/containerd:ro",
		"-e", "PATH=/programs/kubernetes:/programs/containerd:/usr/sbin:/usr/bin:/sbin:/bin",
	}
	for _, capability := range []string{"SYS_ADMIN", "NET_ADMIN", "SYS_PTRACE", "SYS_MODULE", "SYSLOG", "DAC_READ_SEARCH"} {
		args = append(args, "--cap-add", capability)
	}
	for _, file := range files {
		args = append(args, "-v", file)
	}
	n.docker(append(args, image, "bash", "-euo", "pipefail", "-c", nodeScript, "node.sh", name, n.cgroup)...)
	p.Cleanup(n.remove)
	scheduler := p.start("kube-scheduler", "--kubeconfig="+p.dir+"/kubeconfig", "--leader-elect=false", "--secure-port=0")
	p.Cleanup(func() { stop(scheduler) })
	return n
}

// remove ends the node and what it has left on the machine.
func (n *node) remove() {
	if n.Failed() {
		for _, log := range []string{"kubelet", "containerd"} {
			out, _ := exec.Command("docker", "exec", n.container, "tail", "-n", "40", "/var/log/"+log+".log").CombinedOutput()
			n.Logf("%s said last:\n%s", log, out)
		}
		out, _ := exec.Command("docker", "logs", n.container).CombinedOutput()
		n.Logf("the node said:\n%s", out)
	}
	_ = exec.Command("docker", "rm", "--force", "--volumes", n.container).Run()
	_ = exec.Command("docker", "rmi", "pause:1").Run()
	out, err := exec.Command("docker", "run", "--rm", "-v", "/sys/fs/cgroup:/sys/fs/cgroup", lab.NodeImage,
		"bash", "-c", `for of in /sys/fs/cgroup/*/"$0"; do [ ! -d "$of" ] || find "$of" -depth -type d -exec rmdir '{}' ';'; done`, n.cgroup).CombinedOutput()
	if err != nil || len(out) > 0 {
		n.Logf("the node's control groups: %v\n%s", err, out)
	}
}

// relay has who connects to a socket of the file system reach an address of this machine's.
func (n *node) relay(socket, to string) {
	n.Helper()
	l, err := net.Listen("unix", socket)
	if err != nil {
		n.Fatal(err)
	}
	n.Cleanup(func() { _ = l.Close() })
	go func() {
		for {
			from, err := l.Accept()
			if err != nil {
				return
			}
			go func() {
				defer from.Close()
				there, err := net.Dial("tcp", to)
				if err != nil {
					return
				}
				defer there.Close()
				go func() {
					_, _ = io.Copy(there, from)
					_ = there.(*net.TCPConn).CloseWrite()
				}()
				_, _ = io.Copy(from, there)
			}()
		}
	}()
}

func (n *node) docker(args ...string) string {
	n.Helper()
	out, err := exec.CommandContext(n.Context(), "docker", args...).CombinedOutput()
	if err != nil {
		n.Fatalf("docker %s: %v\n%s", args[0], err, out)
	}
	return string(out)
}

// kubectl is Kubernetes' own, as who may do all in this cluster.
func (p *plane) kubectl(args ...string) (string, error) {
	cmd := exec.CommandContext(p.Context(), filepath.Join(p.bin, "kubectl"), args...)
	cmd.Env = append(os.Environ(), "KUBECONFIG="+filepath.Join(p.dir, "kubeconfig"), "HOME="+p.dir)
	out, err := cmd.CombinedOutput()
	return string(out), err
}

// must is kubectl, which does not fail.
func (n *node) must(args ...string) string {
	n.Helper()
	out, err := n.kubectl(args...)
	if err != nil {
		n.Fatalf("kubectl %s: %v\n%s", strings.Join(args, " "), err, out)
	}
	return out
}

// await asks until something is so, as long as the test may take, and shows now and then
// what there is in its place.
func (n *node) await(what string, is func(ctx context.Context) (there string, ok bool)) string {
	n.Helper()
	for began, said := time.Now(), ""; ; {
		there, ok := is(n.Context())
		if ok {
			return there
		}
		if now := cmp.Or(there, "nothing"); now != said {
			said = now
			n.Logf("%4.0f s: waiting for %s, there is %s", time.Since(began).Seconds(), what, said)
		}
		select {
		case <-n.Context().Done():
			n.Fatal(fmt.Errorf("%s: %w", what, n.Context().Err()))
		case <-time.After(time.Second):
		}
	}
}
