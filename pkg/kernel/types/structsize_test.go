package types

import (
	"encoding/binary"
	"errors"
	"math"
	"os"
	"testing"

	"github.com/cilium/ebpf/btf"

	"github.com/k8sp/cuda/internal/testkit"
)

// blob is BTF of a kernel with two structs called module: a driver's own,
// first, and the kernel's.
func blob(t testing.TB, order binary.ByteOrder) []byte {
	t.Helper()
	word := &btf.Int{Name: "int", Size: 4, Encoding: btf.Signed}
	var b btf.Builder
	for _, s := range []*btf.Struct{
		{Name: "module", Size: 8, Members: []btf.Member{{Name: "state", Type: word}}},
		{Name: "module", Size: 1280, Members: []btf.Member{
			{Name: "state", Type: word}, {Name: "list", Type: word, Offset: 64}, {Name: "name", Type: word, Offset: 192}}},
	} {
		if _, err := b.Add(s); err != nil {
			t.Fatal(err)
		}
	}
	raw, err := b.Marshal(nil, &btf.MarshalOptions{Order: order})
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func TestStructSize(t *testing.T) {
	raw := blob(t, binary.LittleEndian)
	got, err := StructSize(raw, "module", "state", "list", "name")
	if err != nil || got != 1280 {
		t.Errorf("the kernel's struct module is %d bytes, %v; want 1280", got, err)
	}
	for _, name := range []string{"task_struct", "int"} {
		if _, err := StructSize(raw, name); !errors.Is(err, ErrNotFound) {
			t.Errorf("%s: %v", name, err)
		}
	}
	if _, err := StructSize(raw, "module", "mkobj"); !errors.Is(err, ErrNotFound) {
		t.Errorf("a member that is not there: %v", err)
	}
}

func TestStructSizeOfDamage(t *testing.T) {
	raw := blob(t, binary.LittleEndian)
	for name, data := range map[string][]byte{
		"empty":     nil,
		"no BTF":    []byte("Linux version 6.1.0"),
		"cut short": raw[:len(raw)-10],
		"too large": append(raw, make([]byte, maxSize)...),
	} {
		if size, err := StructSize(data, "module"); err == nil {
			t.Errorf("%s: %d bytes and no error", name, size)
		}
	}
}

// recorded are the sizes of struct module in the kernels of testdata.
var recorded = map[string]int64{"debian-6.1.btf": 896, "debian-6.12.btf": 1280}

func TestStructSizeOfKernels(t *testing.T) {
	for name, want := range recorded {
		if got, err := StructSize(readTestdata(t, name), "module", "state", "list", "name"); err != nil || got != want {
			t.Errorf("%s: %d, %v, want %d", name, got, err, want)
		}
	}
}

func readTestdata(t testing.TB, name string) []byte {
	t.Helper()
	raw, err := os.ReadFile("testdata/" + name)
	if err != nil {
		t.Fatal(err)
	}
	return raw
}

func FuzzStructSize(f *testing.F) {
	for name := range recorded {
		f.Add(readTestdata(f, name))
	}
	f.Add(blob(f, binary.LittleEndian))
	f.Add(blob(f, binary.BigEndian))
	f.Fuzz(func(t *testing.T, raw []byte) {
		var size int64
		var err error
		taken := testkit.Allocated(func() { size, err = StructSize(raw, "module", "state") })
		if err == nil && (size < 0 || size > math.MaxUint32) {
			t.Errorf("a struct of %d bytes", size)
		}
		if allowed := uint64(1<<20 + 200*len(raw)); taken > allowed {
			t.Errorf("%d bytes taken for %d bytes", taken, len(raw))
		}
		if again, errAgain := StructSize(raw, "module", "state"); again != size || (err == nil) != (errAgain == nil) {
			t.Errorf("%d, %v, and the next time %d, %v", size, err, again, errAgain)
		}
	})
}
