package lab

import (
	"context"
	_ "embed"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// EtcdImage is Debian with its etcd.
const EtcdImage = "k8sp-cuda-etcd"

//go:embed scripts/etcd.Dockerfile
var etcdDockerfile string

// MakeEtcdImage makes the image named [EtcdImage].
func (l *Lab) MakeEtcdImage(ctx context.Context) error {
	return l.debianWith(ctx, "trixie", EtcdImage, etcdDockerfile)
}

// Kubernetes is the folder with the programs of a control plane, kube-apiserver and
// kube-controller-manager, and with kubectl, built from Kubernetes' own module as
// integration/cluster/kube names it. That takes ten minutes and some gigabytes of Go's
// cache.
func (l *Lab) Kubernetes(ctx context.Context) (string, error) {
	module := filepath.Join(l.Checkout, "integration/cluster/kube")
	recipe := "1"
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
		cmd := exec.CommandContext(ctx, "go", "build", "-C", module, "-p", "2", "-trimpath", "-ldflags", "-s -w -X k8s.io/component-base/version.gitVersion="+string(version[:len(version)-1]),
			"-o", dir+"/", "k8s.io/kubernetes/cmd/kube-apiserver", "k8s.io/kubernetes/cmd/kube-controller-manager", "k8s.io/kubernetes/cmd/kubectl")
		cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
		if out, err := cmd.CombinedOutput(); err != nil {
			return fmt.Errorf("go build: %w\n%s", err, out)
		}
		return nil
	})
}
