package retry

import (
	"context"
	"crypto/tls"
	"errors"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"testing/synctest"
	"time"
)

var (
	errPasses = &Temporary{Err: errors.New("unavailable")}
	errStays  = errors.New("not found")
)

func TestLoop(t *testing.T) {
	for _, tt := range []struct {
		name     string
		fails    []error // of the tries; after these it succeeds
		progress bool    // with each try
		tries    int
		took     time.Duration
		says     string // of the error; empty: there is none
	}{
		{name: "at once", tries: 1},
		{name: "what stays", fails: []error{errStays}, tries: 1, says: "not found"},
		{name: "what passes", fails: []error{errPasses, errPasses}, tries: 3, took: 3 * time.Second},
		{name: "what passes and then stays", fails: []error{errPasses, errStays}, tries: 2, took: time.Second, says: "not found"},
		{name: "five in a row", fails: []error{errPasses, errPasses, errPasses, errPasses, errPasses}, tries: 5, took: 15 * time.Second, says: "unavailable (tried 5 times)"},
		{name: "seven with progress", fails: []error{errPasses, errPasses, errPasses, errPasses, errPasses, errPasses, errPasses}, progress: true, tries: 8, took: 7 * time.Second},
		{name: "as long as is asked for", fails: []error{&Temporary{Err: errStays, After: time.Minute}}, tries: 2, took: time.Minute},
		{name: "not for an hour", fails: []error{&Temporary{Err: errStays, After: time.Hour}}, tries: 1, says: "not found, and asks to wait 1h0m0s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				began, tries, heard := time.Now(), 0, time.Duration(0)
				l := Loop{Again: func(_ error, wait time.Duration) { heard += wait }}
				err := l.Do(t.Context(), func() (bool, error) {
					tries++
					if tries <= len(tt.fails) {
						return tt.progress, tt.fails[tries-1]
					}
					return true, nil
				})
				if (err == nil) != (tt.says == "") || err != nil && err.Error() != tt.says {
					t.Errorf("error %v, want %q", err, tt.says)
				}
				if took := time.Since(began); tries != tt.tries || took != tt.took || heard != took {
					t.Errorf("%d tries in %s, %s of it told; want %d in %s", tries, took, heard, tt.tries, tt.took)
				}
			})
		})
	}
}

func TestLoopIsInterrupted(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second/2)
		defer cancel()
		err := Loop{}.Do(ctx, func() (bool, error) { return false, errPasses })
		if !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("error %v, want the context's", err)
		}
	})
}

// TestHint is for a proxy that reads what passes it: NVIDIA/gpu-driver-container#768,
// NVIDIA/gpu-operator#162.
func TestHint(t *testing.T) {
	const otherwise = "check the network"
	proxy := httptest.NewTLSServer(http.NotFoundHandler())
	defer proxy.Close()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, proxy.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err == nil {
		response.Body.Close()
	}
	if got := Hint(err, otherwise); !strings.Contains(got, "SSL_CERT_FILE") {
		t.Errorf("of %v: %q", err, got)
	}
	if got := Hint(&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, otherwise); got != otherwise {
		t.Errorf("%q", got)
	}
}

func TestConnection(t *testing.T) {
	for _, tt := range []struct {
		err error
		may bool
	}{
		{&net.OpError{Op: "dial", Err: syscall.ECONNREFUSED}, true},
		{&net.DNSError{IsTimeout: true}, true},
		{&net.DNSError{IsNotFound: true}, false},
		{&tls.CertificateVerificationError{Err: errors.New("expired")}, false},
	} {
		if got := Connection(tt.err); May(got) != tt.may || !errors.Is(got, tt.err) {
			t.Errorf("%v may pass: %v, want %v", tt.err, May(got), tt.may)
		}
	}
}

func TestResponse(t *testing.T) {
	reset := time.Now().Add(time.Hour).Unix()
	for _, tt := range []struct {
		name   string
		status int
		header http.Header
		may    bool
		after  time.Duration // to within a minute
	}{
		{"fine", 200, nil, false, 0},
		{"not found", 404, nil, false, 0},
		{"forbidden", 403, nil, false, 0},
		{"forbidden for now", 403, http.Header{"Retry-After": {"3600"}}, true, time.Hour},
		{"a rate limit", 403, http.Header{"X-Ratelimit-Remaining": {"0"}, "X-Ratelimit-Reset": {strconv.FormatInt(reset, 10)}}, true, time.Hour},
		{"a rate limit with something left", 403, http.Header{"X-Ratelimit-Remaining": {"1"}, "X-Ratelimit-Reset": {strconv.FormatInt(reset, 10)}}, false, 0},
		{"until a date", 503, http.Header{"Retry-After": {time.Now().Add(time.Hour).UTC().Format(http.TimeFormat)}}, true, time.Hour},
		{"nonsense", 503, http.Header{"Retry-After": {"soon"}}, true, 0},
		{"too many", 429, nil, true, 0},
		{"not implemented", 501, nil, false, 0},
		{"bad gateway", 502, nil, true, 0},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got := Response(&http.Response{StatusCode: tt.status, Status: http.StatusText(tt.status), Header: tt.header})
			if (got != nil) != tt.may {
				t.Fatalf("%v, want that it may pass: %v", got, tt.may)
			}
			if got == nil {
				return
			}
			if d := got.After - tt.after; d < -time.Minute || d > time.Minute {
				t.Errorf("asks to wait %s, want %s", got.After, tt.after)
			}
			if !strings.Contains(got.Error(), http.StatusText(tt.status)) {
				t.Errorf("error %v", got)
			}
		})
	}
}
