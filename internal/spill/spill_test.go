package spill

import (
	"bytes"
	"errors"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"testing"
	"testing/iotest"
)

// zeros gives so many bytes.
func zeros(n int64) io.Reader { return io.LimitReader(zero{}, n) }

type zero struct{}

func (zero) Read(b []byte) (int, error) { clear(b); return len(b), nil }

func TestRead(t *testing.T) {
	dir := t.TempDir()
	for name, tmp := range map[string]string{"with files": dir, "without": filepath.Join(dir, "absent")} {
		t.Run(name, func(t *testing.T) {
			t.Setenv("TMPDIR", tmp)
			for _, tt := range []struct{ n, limit, want int64 }{
				{0, 10, 0}, {5, 10, 5}, {10, 10, 10}, {11, 10, 10},
				{inMemory - 1, 1 << 40, inMemory - 1}, {inMemory, 1 << 40, inMemory}, {inMemory + 1, 1 << 40, inMemory + 1}, {3 * inMemory, 2 * inMemory, 2 * inMemory},
			} {
				d, err := Read(io.MultiReader(bytes.NewReader([]byte("x")[:min(tt.n, 1)]), zeros(max(tt.n-1, 0))), tt.limit)
				if err != nil || int64(len(d.Bytes)) != tt.want || tt.want > 0 && (d.Bytes[0] != 'x' || d.Bytes[tt.want-1] != 0 && tt.want > 1) {
					t.Errorf("%d of %d bytes, %v", len(d.Bytes), tt.n, err)
				}
				d.Free()
				d.Free()
			}
			if left, _ := os.ReadDir(dir); len(left) > 0 {
				t.Errorf("left %v", left)
			}
			broken := errors.New("broken")
			for _, before := range []int64{5, 2 * inMemory} {
				d, err := Read(io.MultiReader(zeros(before), iotest.ErrReader(broken)), 1<<40)
				if !errors.Is(err, broken) || int64(len(d.Bytes)) != before {
					t.Errorf("%d bytes, error %v", len(d.Bytes), err)
				}
				d.Free()
			}
		})
	}
}

// TestMemory: what is read is not in the program's memory.
func TestMemory(t *testing.T) {
	t.Setenv("TMPDIR", t.TempDir())
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	d, err := Read(zeros(20*inMemory), 1<<40)
	runtime.ReadMemStats(&after)
	if err != nil {
		t.Fatal(err)
	}
	defer d.Free()
	if grown := after.Sys - before.Sys; grown > 6*inMemory {
		t.Errorf("%d MiB of %d are the program's", grown>>20, len(d.Bytes)>>20)
	}
}
