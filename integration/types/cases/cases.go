// Package cases is what a test asks of the program typesof, and what that answers.
package cases

import "github.com/k8sp/cuda/pkg/modules"

// Case is a source that is not the kernel's.
type Case struct {
	Name  string `json:"name"`
	Edits []Edit `json:"edits"`
}

// Edit replaces, in a file of the kernel's source tree or its output tree, what is
// there once.
type Edit struct {
	File   string `json:"file"`
	Output bool   `json:"output"`
	Old    string `json:"old"`
	New    string `json:"new"`
}

// Result is what the gate finds of a case.
type Result struct {
	Name       string        `json:"name"`
	Layout     modules.Check `json:"layout"`
	Prototypes modules.Check `json:"prototypes"`
	SourceCRCs modules.Check `json:"source_crcs"`
}
