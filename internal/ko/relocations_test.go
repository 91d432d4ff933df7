package ko

import (
	"bytes"
	"math/rand/v2"
	"testing"
)

// counting counts what is read through it.
type counting struct {
	*bytes.Reader
	n int
}

func (c *counting) ReadAt(p []byte, at int64) (int, error) {
	n, err := c.Reader.ReadAt(p, at)
	c.n += n
	return n, err
}

// TestWindow reads places in order, and in none, and reads no more than three times
// what there is.
func TestWindow(t *testing.T) {
	t.Parallel()
	content := make([]byte, 5*windowSize+123)
	for i := range content {
		content[i] = byte(i * 7 >> 3)
	}
	random := rand.New(rand.NewPCG(1, 2))
	for name, next := range map[string]func(i int) int{
		"in order":    func(i int) int { return i * (len(content) - 8) / 9999 },
		"backwards":   func(i int) int { return (9999 - i) * (len(content) - 8) / 9999 },
		"in no order": func(int) int { return random.IntN(len(content) - 7) },
	} {
		from := &counting{Reader: bytes.NewReader(content)}
		w := window{from: from, size: uint64(len(content))}
		for i := range 10000 {
			at := next(i)
			if got := w.at(uint64(at), 8); !bytes.Equal(got, content[at:at+8]) {
				t.Fatalf("%s: %x at %d, want %x", name, got, at, content[at:at+8])
			}
		}
		if most := 3*len(content) + 3*windowSize; from.n > most || w.err != nil {
			t.Errorf("%s: read %d of %d, at most %d: %v", name, from.n, len(content), most, w.err)
		}
		if name == "in order" && (from.n > 2*len(content) || cap(w.last) > windowSize) {
			t.Errorf("%s: read %d of %d, %d at once", name, from.n, len(content), cap(w.last))
		}
	}
	cut := window{from: bytes.NewReader(content[:100]), size: 200}
	if got := cut.at(199, 1); got != nil || cut.err == nil {
		t.Errorf("what is not there: %x, %v", got, cut.err)
	}
}
