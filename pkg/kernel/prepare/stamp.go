package prepare

import (
	"crypto/sha256"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel/drift"
)

// recipe is the version of this package's way of preparing: raise it when
// trees that earlier versions made must not be reused.
const recipe = 2

// stampFile is in a tree that is whole. Its name is not one of kbuild's.
const stampFile = "prepared.json"

// inputs are everything that a prepared tree depends on.
type inputs struct {
	Recipe          int    `json:"recipe"`
	Release         string `json:"release"`
	Config          string `json:"config"`
	Exports         string `json:"exports"`
	Source          string `json:"source"`
	Commit          string `json:"commit"`
	Compiler        string `json:"compiler"`
	CompilerVersion string `json:"compiler_version"`
}

// headers is Tree.Headers; more are further inputs.
func (in inputs) headers(more ...string) string {
	in.Exports = ""
	text, err := json.Marshal(append([]any{in}, more))
	if err != nil {
		panic(err) // of strings and numbers
	}
	return fmt.Sprintf("%x", sha256.Sum256(text))
}

// stamp is the record in a tree: what it was made from, and what came out
// that only its making could tell.
type stamp struct {
	Inputs inputs `json:"inputs"`
	findings
}

// findings are what became of the host's config.
type findings struct {
	Drift       []drift.Change `json:"drift,omitempty"`
	WithoutRust bool           `json:"without_rust,omitempty"`
}

// reusable says whether the tree in out is whole and made from these inputs,
// and what was found when it was made.
func reusable(out string, in inputs) (findings, bool) {
	b, err := beneath.ReadFile(filepath.Join(out, stampFile))
	if err != nil {
		return findings{}, false
	}
	var s stamp
	if json.Unmarshal(b, &s) != nil || s.Inputs != in {
		return findings{}, false
	}
	if _, err := beneath.Lstat(filepath.Join(out, "Module.symvers")); err != nil {
		return findings{}, false
	}
	return s.findings, checkRelease(out, in.Release) == nil
}

func writeStamp(out string, s stamp) error {
	b, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	name := filepath.Join(out, stampFile)
	return atomicfile.WriteFile(name, append(b, '\n'), 0o644)
}

// discard removes a tree, the stamp first: an interrupted removal must not
// leave a tree that looks whole.
func discard(out string) error {
	if err := beneath.Remove(filepath.Join(out, stampFile)); err != nil && !os.IsNotExist(err) {
		return err
	}
	return beneath.RemoveAll(out)
}
