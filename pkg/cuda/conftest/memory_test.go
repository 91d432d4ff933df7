package conftest

import "github.com/k8sp/cuda/internal/testkit"

func init() { testkit.InMemory() }
