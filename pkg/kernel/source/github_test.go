package source

import (
	"bytes"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/rs/zerolog"
)

// answers is a GitHub API that gives each request the next of its answers, and
// the last one ever after.
type answers []func() *http.Response

// RoundTrip implements [http.RoundTripper].
func (a *answers) RoundTrip(request *http.Request) (*http.Response, error) {
	response := (*a)[0]()
	if len(*a) > 1 {
		*a = (*a)[1:]
	}
	response.Request = request
	return response, nil
}

func answer(status int, body string, header ...string) *http.Response {
	r := &http.Response{
		StatusCode: status, Status: fmt.Sprintf("%d %s", status, http.StatusText(status)),
		Header: http.Header{}, Body: io.NopCloser(strings.NewReader(body)),
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return r
}

// TestRateLimits shows which of GitHub's wishes to be left alone are waited
// for, on a clock of the test's own, and that others are passed on at once.
func TestRateLimits(t *testing.T) {
	const (
		commit    = "1111111111111111111111111111111111111111"
		secondary = `{"documentation_url": "https://docs.github.com/rest#secondary-rate-limits"}`
	)
	ref := func() *http.Response {
		return answer(200, `{"ref": "refs/tags/v4.7.3-coreos", "object": {"sha": "`+commit+`"}}`)
	}
	notFound := func() *http.Response { return answer(404, `{}`) }
	primary := func(wait time.Duration) func() *http.Response {
		return func() *http.Response {
			return answer(403, `{}`, "X-RateLimit-Remaining", "0", "X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(wait).Unix(), 10))
		}
	}
	after := func(status int, wait, body string) func() *http.Response {
		return func() *http.Response { return answer(status, body, "Retry-After", wait) }
	}
	for _, tt := range []struct {
		name    string
		answers answers
		took    time.Duration
		says    string // of the error; empty: the ref is found
	}{
		{"none", answers{ref}, 0, ""},
		{"one that ends soon", answers{primary(7 * time.Second), ref}, 7 * time.Second, ""},
		{"a secondary one that ends soon", answers{after(403, "3", secondary), ref}, 3 * time.Second, ""},
		{"too many requests", answers{after(429, "5", ""), ref}, 5 * time.Second, ""},
		{"forbidden for a moment", answers{after(403, "2", ""), ref}, 2 * time.Second, ""},
		{"one of each", answers{primary(7 * time.Second), after(403, "3", secondary), ref}, 10 * time.Second, ""},
		{"between two refs", answers{notFound, after(429, "5", ""), notFound, after(429, "5", ""), notFound}, 10 * time.Second, errNoRef.Error()},
		{"one that ends in an hour", answers{primary(time.Hour), ref}, 0, "until 01:00 UTC (rate limit)"},
		{"a secondary one that ends in an hour", answers{after(403, "3600", secondary), ref}, 0, "until 01:00 UTC (rate limit)"},
		{"a secondary one that does not say", answers{func() *http.Response { return answer(403, secondary) }, ref}, 0, "for now (rate limit)"},
		{"too many requests, and no word of when", answers{func() *http.Response { return answer(429, "") }, ref}, 0, "for now (rate limit)"},
		{"one after the other", answers{after(429, "9", "")}, 18 * time.Second, "until 00:00 UTC (rate limit)"},
		{"one that is over by this clock", answers{primary(-time.Minute)}, 20 * time.Second, "(rate limit)"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				l, err := newLadder(target(t, "4.7.3-coreos"), Options{
					Dir: t.TempDir(), APIURL: "https://api.example/?token=hunter2", Token: "hunter2",
					HTTPClient: &http.Client{Transport: &tt.answers},
				})
				if err != nil {
					t.Fatal(err)
				}
				var log bytes.Buffer
				began := time.Now()
				got, err := l.findByAPI(zerolog.New(&log).WithContext(t.Context()))
				if took := time.Since(began); took != tt.took {
					t.Errorf("it took %s, want %s", took, tt.took)
				}
				if tt.says == "" && (err != nil || got.hash.String() != commit) {
					t.Errorf("found %+v, error %v", got, err)
				}
				if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
					t.Errorf("error %v, want %q", err, tt.says)
				}
				if waits := strings.Contains(log.String(), "waiting until GitHub's API answers again"); waits != (tt.took > 0) {
					t.Errorf("the log says\n%s", &log)
				}
				if strings.Contains(log.String()+fmt.Sprint(err), "hunter2") {
					t.Errorf("the token is told: %v\n%s", err, &log)
				}
			})
		})
	}
}
