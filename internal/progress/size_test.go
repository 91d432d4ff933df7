package progress

import "testing"

func TestSize(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 kB", 499: "0 kB", 4096: "4 kB", 999_499: "999 kB",
		1e6: "1 MB", 268_435_456: "268 MB", 2_450_000_000: "2.5 GB", 1e12: "1000.0 GB",
	} {
		if got := Size(n); got != want {
			t.Errorf("Size(%d) = %q, want %q", n, got, want)
		}
	}
}
