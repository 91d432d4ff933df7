package partial

import "github.com/k8sp/cuda/internal/testkit"

// Hundreds of repositories are made here, file by file.
func init() { testkit.InMemory() }
