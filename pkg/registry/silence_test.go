package registry

import (
	"bytes"
	"errors"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"testing/synctest"
	"time"
)

// registryOf is a registry by what it does with a request.
type registryOf func(*http.Request) (*http.Response, error)

func (r registryOf) RoundTrip(request *http.Request) (*http.Response, error) { return r(request) }

// ends is what net/http does when a request's context ends.
func ends(request *http.Request) error {
	<-request.Context().Done()
	return request.Context().Err()
}

// slowly reads a body a byte at a time, with a pause before each: nil is none.
type slowly struct {
	text    io.Reader
	pause   time.Duration
	request *http.Request
	stalls  bool // where the text ends
}

func (s *slowly) Read(p []byte) (int, error) {
	time.Sleep(s.pause)
	n, err := s.text.Read(p[:1])
	if err == io.EOF && s.stalls {
		return 0, ends(s.request)
	}
	return n, err
}

func (s *slowly) Close() error { return nil }

// TestSilence has registries that do something all the time, for an hour, and ones that
// cease to at each point of a request.
func TestSilence(t *testing.T) {
	const most = silence - time.Second
	answer := func(request *http.Request, stalls bool) (*http.Response, error) {
		return &http.Response{StatusCode: http.StatusOK, Body: &slowly{strings.NewReader(strings.Repeat("x", 40)), most, request, stalls}}, nil
	}
	// takes reads a request's body, and so long as net/http does for a connection that takes a
	// byte now and then.
	takes := func(request *http.Request, count int) {
		for range count {
			if _, err := request.Body.Read(make([]byte, 1)); err != nil {
				return
			}
			time.Sleep(most)
		}
	}
	for name, tt := range map[string]struct {
		registry registryOf
		silent   bool
	}{
		"slow all the way": {func(request *http.Request) (*http.Response, error) {
			takes(request, 40)
			return answer(request, false)
		}, false},
		"takes no more": {func(request *http.Request) (*http.Response, error) {
			takes(request, 3)
			return nil, ends(request)
		}, true},
		"does not answer": {func(request *http.Request) (*http.Response, error) {
			takes(request, 41)
			return nil, ends(request)
		}, true},
		"does not end its answer": {func(request *http.Request) (*http.Response, error) { return answer(request, true) }, true},
		"is asked again over another connection": {func(request *http.Request) (*http.Response, error) {
			takes(request, 3)
			request.Body, _ = request.GetBody()
			takes(request, 41)
			return answer(request, false)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				// What is sent is read slowly, too, for which no registry can be blamed.
				request, err := http.NewRequestWithContext(t.Context(), http.MethodPut, "http://registry.example.com", nil)
				if err != nil {
					t.Fatal(err)
				}
				body := func() (io.ReadCloser, error) {
					return &slowly{bytes.NewReader(make([]byte, 40)), 2 * silence, request, false}, nil
				}
				request.Body, _ = body()
				request.GetBody = body
				response, err := patient{tt.registry}.RoundTrip(request)
				if err == nil {
					_, err = io.ReadAll(response.Body)
					err = errors.Join(err, response.Body.Close())
				}
				if !tt.silent && err != nil {
					t.Error(err)
				}
				if tt.silent && (!errors.Is(err, errSilent) || !Unavailable(err)) {
					t.Errorf("%v, want %v", err, errSilent)
				}
			})
		})
	}
}

// TestEncrypted has what goes to others than this machine be encrypted.
func TestEncrypted(t *testing.T) {
	answers := registryOf(func(*http.Request) (*http.Response, error) { return &http.Response{}, nil })
	for address, may := range map[string]bool{
		"https://registry.example.com/v2/": true, "https://10.0.0.5:5000/v2/": true,
		"http://127.0.0.1:5000/v2/": true, "http://localhost:5000/v2/": true, "http://[::1]:5000/v2/": true,
		"http://10.0.0.5:5000/v2/": false, "http://192.168.1.2/v2/": false, "http://registry.local:5000/v2/": false, "http://registry.example.com/token": false,
	} {
		request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, address, nil)
		if err != nil {
			t.Fatal(err)
		}
		if _, err := (encrypted{answers}).RoundTrip(request); errors.Is(err, errPlain) == may || Unavailable(err) {
			t.Errorf("%s: %v", address, err)
		}
		if _, err := (Options{PlainHTTP: true}).guarded(answers).RoundTrip(request); err != nil {
			t.Errorf("%s, where it is allowed: %v", address, err)
		}
	}
}

// TestSilenceIsTold has other ends of a request told as they are.
func TestSilenceIsTold(t *testing.T) {
	broken := &net.OpError{Op: "dial", Err: errors.New("refused")}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://registry.example.com", nil)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := (patient{registryOf(func(*http.Request) (*http.Response, error) { return nil, broken })}).RoundTrip(request); err != broken {
		t.Error(err)
	}
}
