package job

import (
	"math"
	"testing"

	"github.com/k8sp/cuda/internal/testkit"
)

func TestMemoryLimit(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		files map[string]string
		want  uint64
	}{
		{"version 2", map[string]string{"memory.max": "2147483648\n"}, 2 << 30},
		{"version 2, none", map[string]string{"memory.max": "max\n"}, math.MaxUint64},
		{"version 1", map[string]string{"memory/memory.limit_in_bytes": "1073741824\n"}, 1 << 30},
		{"version 1, none", map[string]string{"memory/memory.limit_in_bytes": "9223372036854771712\n"}, 9223372036854771712},
		{"not to be seen", map[string]string{"README": ""}, math.MaxUint64},
	} {
		if got := memoryLimit(testkit.WriteTree(t, tt.files)); got != tt.want {
			t.Errorf("%s: %d, want %d", tt.name, got, tt.want)
		}
	}
}

// TestJobsIn: the units' 2 GB do for twelve, as deploy/ says; nothing does for none.
func TestJobsIn(t *testing.T) {
	t.Parallel()
	for limit, want := range map[uint64]int{0: 1, 256 << 20: 1, 1 << 30: 5, 2 << 30: 11, 64 << 30: 381, math.MaxUint64: math.MaxInt32 + 1} {
		if got := jobsIn(limit); got != want {
			t.Errorf("%d bytes do for %d compilers, want %d", limit, got, want)
		}
	}
	if got := (Options{Jobs: 99}).jobs(); got != 99 {
		t.Errorf("asked for 99, and it is %d", got)
	}
}
