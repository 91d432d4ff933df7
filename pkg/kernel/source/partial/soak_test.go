//go:build integration

package partial

import (
	"math/rand/v2"
	"net/http"
	"sync/atomic"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// The soak tests repeat what goes wrong until it has gone wrong everywhere; they
// take half a minute, and run with the integration tests.

// dropping cuts the connection when it has sent so many more bytes, once.
type dropping struct {
	http.ResponseWriter
	left *atomic.Int64
}

func (d *dropping) Write(b []byte) (int, error) {
	left := d.left.Add(-int64(len(b))) + int64(len(b))
	if left < 0 || left >= int64(len(b)) {
		return d.ResponseWriter.Write(b)
	}
	_, _ = d.ResponseWriter.Write(b[:left])
	_ = http.NewResponseController(d.ResponseWriter).Flush()
	panic(http.ErrAbortHandler)
}

// A connection that drops anywhere, and then again, costs nothing but what was
// on its way.
func TestSoakDroppedConnections(t *testing.T) {
	r := newRepository(t)
	want := r.undisturbed(t, "v2")
	var left atomic.Int64
	var sent atomic.Int32
	where := r.serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			next.ServeHTTP(&dropping{&counted{w, &sent}, &left}, request)
		})
	})
	left.Store(1 << 40)
	if _, err := Checkout(t.Context(), r.options(t, where, "v2")); err != nil {
		t.Fatal(err)
	}
	all := sent.Load()
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 60 {
		at := random.Int32N(all * 9 / 10) // git may send a little less another time
		left.Store(int64(at))
		o := r.options(t, where, "v2")
		sent.Store(0)
		if _, err := Checkout(t.Context(), o); err != nil {
			t.Fatalf("drop %d, after %d of %d bytes: %v", i, at, all, err)
		}
		if left.Load() > 0 {
			t.Fatalf("drop %d did not happen", i)
		}
		if diff := cmp.Diff(want, snapshot(t, o.Dir)); diff != "" {
			t.Fatalf("after drop %d, at %d bytes, the tree differs from git's (-git +got):\n%s", i, at, diff)
		}
		if i%10 == 0 {
			wantTree(t, want, o.Dir)
		}
	}
}

// It does not matter where an answer ends too early.
func TestSoakTruncatedAnswers(t *testing.T) {
	r := newRepository(t)
	want := r.undisturbed(t, "v1")
	random := rand.New(rand.NewPCG(5, 6))
	for answer := range 3 { // the refs, the commit, the contents
		for i := range 12 {
			left := []int{i, random.IntN(200), random.IntN(2000), random.IntN(60_000)}[i%4]
			var asked atomic.Int32
			o := r.options(t, r.serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
					if int(asked.Add(1)) == answer+1 {
						w = &truncating{w, left}
					}
					next.ServeHTTP(w, request)
				})
			}), "v1")
			if _, err := Checkout(t.Context(), o); err != nil {
				t.Fatalf("answer %d ends after %d bytes: %v", answer, left, err)
			}
			if diff := cmp.Diff(want, snapshot(t, o.Dir)); diff != "" {
				t.Fatalf("answer %d ends after %d bytes (-git +got):\n%s", answer, left, diff)
			}
		}
	}
}
