//go:build cluster

package cluster

import (
	"encoding/json"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
)

// gpuOperator is the GPU Operator as a Go module, which has what defines its kinds; the
// newest that there is.
const gpuOperator = "github.com/NVIDIA/gpu-operator@v0.0.0-20250917190837-d73a0086a6ba"

// testOperators has the server take what deploy/ has for other operators by what these say
// of their own kinds.
func testOperators(p *plane, kubernetes string) {
	p.Run("the GPU Operator", func(t *testing.T) {
		p := p.in(t)
		out, err := exec.CommandContext(t.Context(), "go", "mod", "download", "-json", gpuOperator).Output()
		var module struct{ Dir string }
		if err == nil {
			err = json.Unmarshal(out, &module)
		}
		if err != nil {
			t.Fatal(err)
		}
		p.define(filepath.Join(module.Dir, "config/crd/bases/nvidia.com_clusterpolicies.yaml"))
		text, err := os.ReadFile(filepath.Join(kubernetes, "gpu-operator/values.yaml"))
		if err != nil {
			t.Fatal(err)
		}
		// The chart copies the part "driver" of its values into the policy's, key by key.
		policy := p.objects(text)[0]
		policy.Object = map[string]any{
			"apiVersion": "nvidia.com/v1", "kind": "ClusterPolicy", "metadata": map[string]any{"name": "cluster-policy"},
			"spec": map[string]any{"driver": policy.Object["driver"]},
		}
		for _, name := range []string{"operator", "toolkit", "devicePlugin", "dcgm", "dcgmExporter", "nodeStatusExporter", "gfd", "daemonsets"} {
			policy.Object["spec"].(map[string]any)[name] = map[string]any{}
		}
		policies := p.admin.Resource(schema.GroupVersionResource{Group: "nvidia.com", Version: "v1", Resource: "clusterpolicies"})
		if err := unstructured.SetNestedField(policy.Object, "1", "spec", "driver", "verzion"); err != nil {
			t.Fatal(err)
		}
		strict := metav1.CreateOptions{FieldValidation: metav1.FieldValidationStrict}
		if _, err := policies.Create(t.Context(), policy, strict); err == nil || !strings.Contains(err.Error(), "verzion") {
			t.Fatalf("a field that is none: %v", err)
		}
		unstructured.RemoveNestedField(policy.Object, "spec", "driver", "verzion")
		if _, err := policies.Create(t.Context(), policy, strict); err != nil {
			t.Error(err)
		}
	})
	p.Run("KMM", func(t *testing.T) {
		file := os.Getenv("KMM_CRD")
		if file == "" {
			t.Skip("KMM_CRD names no file: KMM's config/crd/bases/kmm.sigs.x-k8s.io_modules.yaml is in no package that can be had here")
		}
		p := p.in(t)
		p.define(file)
		p.apply(filepath.Join(kubernetes, "kmm"))
	})
}
