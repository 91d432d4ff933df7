package partial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/k8sp/cuda/internal/gittest"
)

// truncating ends an answer early, as a server does whose git was killed.
type truncating struct {
	http.ResponseWriter
	left int
}

func (c *truncating) Write(b []byte) (int, error) {
	part := b[:min(c.left, len(b))]
	c.left -= len(part)
	if _, err := c.ResponseWriter.Write(part); err != nil {
		return 0, err
	}
	return len(b), nil
}

// An answer that breaks off half way through the contents is not asked for all
// of them again.
func TestResume(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	var wants []int
	where := r.serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			left := 1 << 40
			if request.Method == http.MethodPost {
				body, _ := io.ReadAll(request.Body)
				request.Body = io.NopCloser(strings.NewReader(string(body)))
				if wants = append(wants, strings.Count(string(body), "want ")); len(wants) == 2 {
					// Of about 81,000 bytes. On a busy machine git sends them in packets
					// of up to 65,520, of which nobody can read a part.
					left = 72_000
				}
			}
			next.ServeHTTP(&truncating{w, left}, request)
		})
	})
	o := r.options(t, where, "v1")
	if _, err := Checkout(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantTree(t, r.undisturbed(t, "v1"), o.Dir)
	if len(wants) != 3 || wants[2] >= wants[1] || wants[2] == 0 {
		t.Errorf("objects asked for: %v; want the third to be what is left of the second", wants)
	}
}

// Where a server sends a request for contents is nobody's to see: it may have
// signed the address.
func TestRedirectWithASecret(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	where := r.serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if request.Method == http.MethodPost {
				http.Redirect(w, request, "/elsewhere?token=hunter2", http.StatusTemporaryRedirect)
				return
			}
			next.ServeHTTP(w, request)
		})
	})
	_, err := Checkout(t.Context(), r.options(t, where, "v1"))
	if err == nil || !strings.Contains(err.Error(), "/elsewhere") || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("error is %v", err)
	}
}

func TestStalledServer(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for name, stall := range map[string]func(int32, *http.Request) bool{
		"at once":             func(int32, *http.Request) bool { return true },
		"before the contents": func(posts int32, request *http.Request) bool { return posts >= 2 },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it waits
			var asked atomic.Int32
			where := r.serve(t, func(next http.Handler) http.Handler {
				return posts(&asked)(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
					if !stall(asked.Load(), request) {
						next.ServeHTTP(w, request)
						return
					}
					_, _ = io.Copy(io.Discard, request.Body)
					w.WriteHeader(http.StatusOK)
					_ = http.NewResponseController(w).Flush()
					<-request.Context().Done()
				}))
			})
			o := r.options(t, where, "v1")
			o.Stall = 300 * time.Millisecond
			_, err := Checkout(t.Context(), o)
			if !errors.Is(err, errStalled) || !Temporary(err) || !strings.Contains(err.Error(), "tried 5 times") {
				t.Errorf("error is %v", err)
			}
		})
	}
}

func TestSlowIsNotStalled(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	where := r.serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			next.ServeHTTP(slow{w}, request)
		})
	})
	o := r.options(t, where, "v1")
	o.Stall = 2 * time.Second
	began := time.Now()
	if _, err := Checkout(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if took := time.Since(began); took < o.Stall {
		t.Fatalf("the server was not slow: %s", took)
	}
}

type slow struct{ http.ResponseWriter }

func (s slow) Write(b []byte) (int, error) {
	for i := 0; i < len(b); i += 4096 {
		time.Sleep(100 * time.Millisecond)
		if _, err := s.ResponseWriter.Write(b[i:min(i+4096, len(b))]); err != nil {
			return i, err
		}
		_ = http.NewResponseController(s.ResponseWriter).Flush()
	}
	return len(b), nil
}

func TestRefusals(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	for name, test := range map[string]struct {
		status   int
		header   map[string]string
		times    int32 // that it is answered; then the repository is
		asked    int32
		sentence string // of the error; empty: there is none
		wait     time.Duration
	}{
		"one bad gateway":          {status: 502, times: 1, asked: 2},
		"three unavailable":        {status: 503, times: 3, asked: 4},
		"unavailable for good":     {status: 503, times: 100, asked: 5, sentence: "503 Service Unavailable (tried 5 times)"},
		"too many requests":        {status: 429, header: map[string]string{"Retry-After": "1"}, times: 1, asked: 2, wait: time.Second},
		"a rate limit that passes": {status: 403, header: map[string]string{"X-RateLimit-Remaining": "0", "X-RateLimit-Reset": "+2"}, times: 1, asked: 2, wait: time.Second / 2},
		"a rate limit for an hour": {status: 403, header: map[string]string{"Retry-After": "3600"}, times: 1, asked: 1, sentence: "and asks to wait 1h0m0s"},
		"not found":                {status: 404, times: 1, asked: 1, sentence: "repository not found"},
		"not allowed":              {status: 401, times: 1, asked: 1, sentence: "authentication required"},
		"forbidden":                {status: 403, times: 1, asked: 1, sentence: "authorization failed"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel() // most of it waits
			var asked atomic.Int32
			where := r.serve(t, func(next http.Handler) http.Handler {
				return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
					if request.Method != http.MethodGet || asked.Add(1) > test.times {
						next.ServeHTTP(w, request)
						return
					}
					for key, value := range test.header {
						if after, ok := strings.CutPrefix(value, "+"); ok {
							seconds, _ := strconv.Atoi(after)
							value = strconv.FormatInt(time.Now().Unix()+int64(seconds), 10)
						}
						w.Header().Set(key, value)
					}
					w.WriteHeader(test.status)
				})
			})
			began := time.Now()
			_, err := Checkout(t.Context(), r.options(t, where, "v1"))
			if (err == nil) != (test.sentence == "") || err != nil && !strings.Contains(err.Error(), test.sentence) {
				t.Errorf("error is %v, want %q", err, test.sentence)
			}
			if asked.Load() != test.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), test.asked)
			}
			if took := time.Since(began); took < test.wait {
				t.Errorf("waited %s, the server asked for %s", took, test.wait)
			}
		})
	}
}

func TestInterrupted(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	ctx, cancel := context.WithCancel(t.Context())
	where := r.serve(t, func(next http.Handler) http.Handler {
		return http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
			if request.Method == http.MethodPost {
				cancel()
			}
			next.ServeHTTP(w, request)
		})
	})
	if _, err := Checkout(ctx, r.options(t, where, "v1")); !errors.Is(err, context.Canceled) {
		t.Errorf("error is %v, want context canceled", err)
	}
}

func TestTransport(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	var proxied atomic.Int32
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		if request.Host == "git.example" {
			proxied.Add(1)
		}
		r.handler.ServeHTTP(w, request)
	}))
	t.Cleanup(proxy.Close)
	o := r.options(t, "http://git.example/linux.git", "v1")
	transport := http.DefaultTransport.(*http.Transport).Clone()
	transport.Proxy = func(*http.Request) (*url.URL, error) { return url.Parse(proxy.URL) }
	o.Transport = transport
	if _, err := Checkout(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	if proxied.Load() != 3 {
		t.Errorf("%d requests by way of the proxy, want 3", proxied.Load())
	}
}

func TestTagThatMoved(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t, r.serve(t, nil), "v1")
	gittest.Run(t, r.dir, "tag", "--force", "-m", "moved", "v1", "v2")
	_, err := Checkout(t.Context(), o)
	if err == nil || !strings.Contains(err.Error(), fmt.Sprintf("and the API at %s", o.Want)) {
		t.Errorf("error is %v", err)
	}
}

// A branch may have moved since it was looked up: what was found then is built.
func TestBranchThatMoved(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t, r.serve(t, nil), "v1^{commit}")
	o.Pinned, o.Ref = false, "refs/heads/main"
	if _, err := Checkout(t.Context(), o); err != nil {
		t.Fatal(err)
	}
	wantTree(t, r.undisturbed(t, "v1"), o.Dir)
}
