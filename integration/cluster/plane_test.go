//go:build cluster

package cluster

import (
	"bytes"
	"context"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	apierrors "k8s.io/apimachinery/pkg/api/errors"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/apimachinery/pkg/util/yaml"
	"k8s.io/client-go/dynamic"
	"k8s.io/client-go/rest"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
)

var (
	needKubernetes = shared.Thing((*lab.Lab).Kubernetes)
	needEtcd       = shared.Image(lab.EtcdImage, (*lab.Lab).MakeEtcdImage)
)

func TestMain(m *testing.M) { shared.Main(m) }

// plane is a control plane on loopback.
type plane struct {
	*testing.T
	dir, bin, url string
	apiArgs       []string
	server        *exec.Cmd
	admin         dynamic.Interface
}

const adminToken = "of-the-test-s-own-cluster"

// freePort is a port of loopback that nobody listens on.
func freePort(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	_, port, _ := net.SplitHostPort(l.Addr().String())
	return port
}

// startPlane starts etcd, kube-apiserver and kube-controller-manager.
func startPlane(t *testing.T) *plane {
	t.Helper()
	p := &plane{T: t, dir: t.TempDir(), bin: needKubernetes(t)}
	etcd, peer, api := freePort(t), freePort(t), freePort(t)
	name := lab.ContainerName("etcd")
	out, err := exec.Command("docker", "run", "--detach", "--name", name, "--network", "host", "--tmpfs", "/data", needEtcd(t), "etcd", "--data-dir", "/data",
		"--listen-client-urls", "http://127.0.0.1:"+etcd, "--advertise-client-urls", "http://127.0.0.1:"+etcd, "--listen-peer-urls", "http://127.0.0.1:"+peer,
		"--initial-advertise-peer-urls", "http://127.0.0.1:"+peer, "--initial-cluster", "default=http://127.0.0.1:"+peer).CombinedOutput()
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	t.Cleanup(func() { _ = exec.Command("docker", "rm", "--force", name).Run() })
	key, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	for name, text := range map[string][]byte{
		"sa.key":     pem.EncodeToMemory(&pem.Block{Type: "RSA PRIVATE KEY", Bytes: x509.MarshalPKCS1PrivateKey(key)}),
		"tokens":     []byte(adminToken + `,admin,1,"system:masters"` + "\n"),
		"kubeconfig": fmt.Appendf(nil, "apiVersion: v1\nkind: Config\nclusters: [{name: c, cluster: {server: 'https://127.0.0.1:%s', insecure-skip-tls-verify: true}}]\nusers: [{name: u, user: {token: %s}}]\ncontexts: [{name: x, context: {cluster: c, user: u}}]\ncurrent-context: x\n", api, adminToken),
	} {
		if err := os.WriteFile(filepath.Join(p.dir, name), text, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	p.url = "https://127.0.0.1:" + api
	p.apiArgs = []string{
		"--etcd-servers=http://127.0.0.1:" + etcd, "--bind-address=127.0.0.1", "--secure-port=" + api, "--cert-dir=" + p.dir + "/certs", "--token-auth-file=" + p.dir + "/tokens",
		"--service-account-issuer=https://kubernetes.default.svc", "--service-account-signing-key-file=" + p.dir + "/sa.key", "--service-account-key-file=" + p.dir + "/sa.key",
		"--service-cluster-ip-range=10.96.0.0/24", "--authorization-mode=Node,RBAC", "--enable-admission-plugins=NodeRestriction", "--allow-privileged=true",
	}
	p.admin = p.client(adminToken)
	p.startServer()
	t.Cleanup(func() { p.stopServer() })
	manager := p.start("kube-controller-manager", "--kubeconfig="+p.dir+"/kubeconfig", "--leader-elect=false", "--service-account-private-key-file="+p.dir+"/sa.key",
		"--root-ca-file="+p.dir+"/certs/apiserver.crt", "--secure-port=0", "--concurrent-job-syncs=5")
	t.Cleanup(func() { stop(manager) })
	return p
}

// in is the plane for a part of the test.
func (p *plane) in(t *testing.T) *plane {
	part := *p
	part.T = t
	return &part
}

func (p *plane) start(program string, args ...string) *exec.Cmd {
	p.Helper()
	log, err := os.OpenFile(filepath.Join(p.dir, program+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		p.Fatal(err)
	}
	cmd := exec.Command(filepath.Join(p.bin, program), args...)
	cmd.Stdout, cmd.Stderr = log, log
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		p.Fatal(err)
	}
	p.Cleanup(func() {
		if p.Failed() {
			out, _ := exec.Command("tail", "-n", "30", log.Name()).Output()
			p.Logf("%s said last:\n%s", program, out)
		}
		_ = log.Close()
	})
	return cmd
}

func stop(cmd *exec.Cmd) {
	_ = cmd.Process.Kill()
	_ = cmd.Wait()
}

func (p *plane) startServer() {
	p.Helper()
	p.server = p.start("kube-apiserver", p.apiArgs...)
	for {
		if _, err := p.admin.Resource(resource("", "namespaces")).Get(p.Context(), "default", metav1.GetOptions{}); err == nil {
			return
		}
		select {
		case <-p.Context().Done():
			p.Fatal(p.Context().Err())
		case <-time.After(200 * time.Millisecond):
		}
	}
}

func (p *plane) stopServer() { stop(p.server) }

// client is one with a token.
func (p *plane) client(token string) dynamic.Interface {
	p.Helper()
	c, err := dynamic.NewForConfig(&rest.Config{Host: p.url, BearerToken: token, TLSClientConfig: rest.TLSClientConfig{Insecure: true}, QPS: 200, Burst: 400})
	if err != nil {
		p.Fatal(err)
	}
	return c
}

func resource(group, name string) schema.GroupVersionResource {
	return schema.GroupVersionResource{Group: group, Version: "v1", Resource: name}
}

// kinds are the resources of the kinds that deploy/ has.
var kinds = map[string]schema.GroupVersionResource{
	"Namespace": resource("", "namespaces"), "ConfigMap": resource("", "configmaps"), "ServiceAccount": resource("", "serviceaccounts"), "ResourceQuota": resource("", "resourcequotas"),
	"Role": resource("rbac.authorization.k8s.io", "roles"), "RoleBinding": resource("rbac.authorization.k8s.io", "rolebindings"),
	"ClusterRole": resource("rbac.authorization.k8s.io", "clusterroles"), "ClusterRoleBinding": resource("rbac.authorization.k8s.io", "clusterrolebindings"),
	"DaemonSet": resource("apps", "daemonsets"), "Deployment": resource("apps", "deployments"), "NetworkPolicy": resource("networking.k8s.io", "networkpolicies"),
	"ValidatingAdmissionPolicy":        resource("admissionregistration.k8s.io", "validatingadmissionpolicies"),
	"ValidatingAdmissionPolicyBinding": resource("admissionregistration.k8s.io", "validatingadmissionpolicybindings"),
	"Module":                           {Group: "kmm.sigs.x-k8s.io", Version: "v1beta1", Resource: "modules"},
}

// overlay makes a kustomization as a user's, in which K is deploy/kubernetes.
func (p *plane) overlay(text string) (folder string) {
	p.Helper()
	kubernetes, err := filepath.Abs("../../deploy/kubernetes")
	if err != nil {
		p.Fatal(err)
	}
	// Kustomize looks only below its folder, and where a component or base is.
	folder = filepath.Join(p.TempDir(), "overlay")
	if err := os.Mkdir(folder, 0o755); err != nil {
		p.Fatal(err)
	}
	relative, err := filepath.Rel(folder, kubernetes)
	if err != nil {
		p.Fatal(err)
	}
	text = "namespace: cuda-driver\n" + strings.ReplaceAll(text, "K/", relative+"/") +
		"configMapGenerator: [{name: cuda-driver, literals: [BUILDER_DRIVER_VERSION=580.126.09]}, {name: cuda-build-job, files: [job.yaml]}]\n"
	job, err := os.ReadFile(filepath.Join(kubernetes, "jobs/job.yaml"))
	if err != nil {
		p.Fatal(err)
	}
	for name, content := range map[string][]byte{"kustomization.yaml": []byte(text), "job.yaml": job} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o644); err != nil {
			p.Fatal(err)
		}
	}
	return folder
}

// apply renders a folder as kubectl kustomize does, and creates what is in it. Namespaces come
// first, as kubectl has them; fields that the server does not know are errors.
func (p *plane) apply(folder string) {
	p.Helper()
	var said bytes.Buffer
	render := exec.CommandContext(p.Context(), "go", "run", "-C", "../../deploy/check", "./render", folder)
	render.Stderr = &said
	text, err := render.Output()
	if err != nil {
		p.Fatalf("%v\n%s", err, said.String())
	}
	for _, o := range p.objects(text) {
		kind, ok := kinds[o.GetKind()]
		if !ok {
			p.Fatalf("a %s is nothing that deploy/ has", o.GetKind())
		}
		var in dynamic.ResourceInterface = p.admin.Resource(kind)
		if o.GetNamespace() != "" {
			in = p.admin.Resource(kind).Namespace(o.GetNamespace())
		}
		if _, err := in.Create(p.Context(), o, metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}); err != nil && !apierrors.IsAlreadyExists(err) {
			p.Fatalf("%s %s: %v", o.GetKind(), o.GetName(), err)
		}
	}
}

// objects are those of a stream of YAML.
func (p *plane) objects(text []byte) (list []*unstructured.Unstructured) {
	p.Helper()
	for decoder := yaml.NewYAMLOrJSONDecoder(bytes.NewReader(text), 4096); ; {
		var o unstructured.Unstructured
		if err := decoder.Decode(&o.Object); errors.Is(err, io.EOF) {
			return list
		} else if err != nil {
			p.Fatal(err)
		}
		list = append(list, &o)
	}
}

// define has the server know the kinds of an operator's by the file that its maker
// publishes for it.
func (p *plane) define(file string) {
	p.Helper()
	text, err := os.ReadFile(file)
	if err != nil {
		p.Fatal(err)
	}
	definitions := p.admin.Resource(resource("apiextensions.k8s.io", "customresourcedefinitions"))
	for _, o := range p.objects(text) {
		if _, err := definitions.Create(p.Context(), o, metav1.CreateOptions{}); err != nil && !apierrors.IsAlreadyExists(err) {
			p.Fatal(err)
		}
		for n := 0; ; n++ {
			there, err := definitions.Get(p.Context(), o.GetName(), metav1.GetOptions{})
			if err == nil && established(there) {
				break
			}
			if n == 300 {
				p.Fatalf("%s is not established: %v %v", o.GetName(), err, there)
			}
			time.Sleep(100 * time.Millisecond)
		}
	}
}

func established(definition *unstructured.Unstructured) bool {
	list, _, _ := unstructured.NestedSlice(definition.Object, "status", "conditions")
	return slices.ContainsFunc(list, func(c any) bool {
		condition, _ := c.(map[string]any)
		return condition["type"] == "Established" && condition["status"] == "True"
	})
}

// token is one of an account of deploy/'s pods, as a kubelet asks for it.
func (p *plane) token(account string) string {
	p.Helper()
	request := &unstructured.Unstructured{Object: map[string]any{"apiVersion": "authentication.k8s.io/v1", "kind": "TokenRequest", "metadata": map[string]any{"name": account}, "spec": map[string]any{}}}
	answer, err := p.admin.Resource(resource("", "serviceaccounts")).Namespace("cuda-driver").Create(p.Context(), request, metav1.CreateOptions{}, "token")
	if err != nil {
		p.Fatal(err)
	}
	token, _, _ := unstructured.NestedString(answer.Object, "status", "token")
	return token
}

// kubelet stands in for one: it has each pod of a namespace end as ends says, with an exit
// code and what its container said last.
func (p *plane) kubelet(ctx context.Context, namespace string, ends func(pod *unstructured.Unstructured) (code int64, said string)) {
	seen := map[string]bool{}
	in := p.admin.Resource(resource("", "pods")).Namespace(namespace)
	for ctx.Err() == nil {
		list, err := in.List(ctx, metav1.ListOptions{})
		if err == nil {
			for _, pod := range list.Items {
				if seen[pod.GetName()] {
					continue
				}
				code, said := ends(&pod)
				phase := map[bool]string{true: "Succeeded", false: "Failed"}[code == 0]
				now := time.Now().UTC().Format(time.RFC3339)
				_ = unstructured.SetNestedMap(pod.Object, map[string]any{
					"phase": phase, "startTime": now, "containerStatuses": []any{map[string]any{
						"name": "build", "image": "cuda", "imageID": "", "ready": false, "restartCount": int64(0),
						"state": map[string]any{"terminated": map[string]any{"exitCode": code, "message": said, "startedAt": now, "finishedAt": now}},
					}},
				}, "status")
				if _, err := in.UpdateStatus(ctx, &pod, metav1.UpdateOptions{}); err == nil {
					seen[pod.GetName()] = true
				}
			}
		}
		select {
		case <-ctx.Done():
		case <-time.After(100 * time.Millisecond):
		}
	}
}
