package units

import "testing"

func TestBytes(t *testing.T) {
	for n, want := range map[uint64]string{
		0: "0 kB", 499: "0 kB", 4096: "4 kB", 999_499: "999 kB",
		1e6: "1 MB", 268_435_456: "268 MB", 2_450_000_000: "2.5 GB", 1e12: "1000.0 GB",
	} {
		if got := Bytes(n); got != want {
			t.Errorf("Bytes(%d) = %q, want %q", n, got, want)
		}
	}
}
