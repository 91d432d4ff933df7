//go:build integration

package runsh

import (
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
)

// toolsImage is the lab's image: curl, shasum, makeself, shellcheck, vagrant, and
// a shell.
var toolsImage = shared.Image(lab.Image, (*lab.Lab).ToolsImage)
