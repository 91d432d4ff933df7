package cksum

import (
	"io"
	"strings"
	"testing"
)

// The values are cksum(1)'s own.
func TestSum32(t *testing.T) {
	for _, c := range []struct {
		data string
		want uint32
	}{
		{"", 4294967295},
		{"123456789", 930766865},
		{"hello world\n", 3733384285},
		{strings.Repeat("a", 70000), 3508083167},
	} {
		var s Sum
		_, _ = io.Copy(&s, strings.NewReader(c.data))
		if got := s.Sum32(); got != c.want {
			t.Errorf("cksum of %d bytes = %d, want %d", len(c.data), got, c.want)
		}
	}
}

func BenchmarkSum(b *testing.B) {
	var s Sum
	block := make([]byte, 1<<20)
	b.SetBytes(int64(len(block)))
	for b.Loop() {
		_, _ = s.Write(block)
	}
}
