package lab

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// EtcdImage is Debian with its etcd.
const EtcdImage = "k8sp-cuda-etcd"

//go:embed scripts/etcd.Dockerfile
var etcdDockerfile string

// MakeEtcdImage makes the image named [EtcdImage].
func (l *Lab) MakeEtcdImage(ctx context.Context) error {
	return l.debianWith(ctx, "trixie", EtcdImage, etcdDockerfile)
}

// NodeImage is Debian with what a node of Kubernetes has beside its kubelet and containerd.
const NodeImage = "k8sp-cuda-node"

//go:embed scripts/node.Dockerfile
var nodeDockerfile string

// MakeNodeImage makes the image named [NodeImage].
func (l *Lab) MakeNodeImage(ctx context.Context) error {
	return l.debianWith(ctx, "trixie", NodeImage, nodeDockerfile)
}

// Kubernetes is the folder with the programs of a cluster, kube-apiserver,
// kube-controller-manager, kube-scheduler and kubelet, and with kubectl, built from
// Kubernetes' own module as integration/cluster/kube names it. That takes ten minutes and
// some gigabytes of Go's cache.
func (l *Lab) Kubernetes(ctx context.Context) (string, error) {
	module := filepath.Join(l.Checkout, "integration/cluster/kube")
	recipe := "2"
	for _, name := range []string{"go.mod", "go.sum"} {
		text, err := os.ReadFile(filepath.Join(module, name))
		if err != nil {
			return "", err
		}
		recipe += string(text)
	}
	return l.part(ctx, "kubernetes", recipe, func(dir string) error {
		version, err := exec.CommandContext(ctx, "go", "list", "-C", module, "-m", "-f", "{{.Version}}", "k8s.io/kubernetes").Output()
		if err != nil {
			return fmt.Errorf("go list: %w", err)
		}
		args := []string{"build", "-C", module, "-p", "2", "-trimpath", "-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion=" + strings.TrimSpace(string(version)), "-o", dir + "/"}
		for _, program := range []string{"kube-apiserver", "kube-controller-manager", "kube-scheduler", "kubectl", "kubelet"} {
			args = append(args, "k8s.io/kubernetes/cmd/"+program)
		}
		return static(exec.CommandContext(ctx, "go", args...))
	})
}

// containerd is the version of [Lab.Containerd]: Debian's are before 2.0, the first that
// mounts what is below a read-only mount so, too.
const containerd = "v2.4.2"

// Containerd is the folder with containerd, its shim and ctr, built from its module.
func (l *Lab) Containerd(ctx context.Context) (string, error) {
	return l.part(ctx, "containerd", containerd, func(dir string) error {
		args := []string{"install", "-p", "2", "-trimpath", "-ldflags", "-s -w"}
		for _, program := range []string{"containerd", "containerd-shim-runc-v2", "ctr"} {
			args = append(args, "github.com/containerd/containerd/v2/cmd/"+program+"@"+containerd)
		}
		cmd := exec.CommandContext(ctx, "go", args...)
		cmd.Env = append(os.Environ(), "GOBIN="+dir)
		return static(cmd)
	})
}

// static runs a command of Go's that builds programs, which are then linked to no library.
func static(cmd *exec.Cmd) error {
	cmd.Env = append(cmd.Environ(), "CGO_ENABLED=0")
	out, err := cmd.CombinedOutput()
	return withOutput(err, out)
}
