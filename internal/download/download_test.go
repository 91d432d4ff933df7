package download

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

const (
	content = "a kernel"
	// of content
	contentSHA256 = "4fff0d3e643b3894c17a0738fbdc591953aa722c9d42774425090accc4377126"
)

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

func TestTo(t *testing.T) {
	var user string
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		user, _, _ = r.BasicAuth()
		fmt.Fprint(w, content)
	})
	var out strings.Builder
	digest, err := To(t.Context(), &out, Options{URL: strings.Replace(base, "//", "//me:hunter2@", 1) + "/vmlinuz", SHA256: strings.ToUpper(contentSHA256), Limit: int64(len(content))})
	if err != nil || digest != contentSHA256 || out.String() != content {
		t.Errorf("digest %s, content %q, error %v", digest, out.String(), err)
	}
	if user != "me" {
		t.Errorf("the server was told user %q", user)
	}
}

func TestToFails(t *testing.T) {
	good := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, content) }
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		options Options
		says    string
	}{
		{"another file", good, Options{SHA256: strings.Repeat("0", 64)}, "has SHA-256 " + contentSHA256 + ", not 000"},
		{"no file", http.NotFound, Options{}, "answered 404 Not Found"},
		{"too much", good, Options{Limit: int64(len(content)) - 1}, "larger than 7 bytes"},
		{"silence at once", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Options{Idle: 50 * time.Millisecond}, "sends nothing more"},
		{"silence half way", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, content)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, Options{Idle: 50 * time.Millisecond}, "sends nothing more"},
		{"a broken connection", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, content)
		}, Options{}, "unexpected EOF"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			o := tt.options
			o.URL = strings.Replace(serve(t, tt.handler), "//", "//me:hunter2@", 1) + "/vmlinuz?token=hunter3"
			_, err := To(t.Context(), &strings.Builder{}, o)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error %v, want one that says %q", err, tt.says)
			}
			if !strings.Contains(err.Error(), "/vmlinuz") || strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "me:") {
				t.Errorf("the error does not name the address without its secrets: %v", err)
			}
		})
	}
}

func TestToNobodyAnswers(t *testing.T) {
	_, err := To(t.Context(), &strings.Builder{}, Options{URL: "http://me:hunter2@127.0.0.1:1/x"})
	if err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:1/x: ") || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "hunter") {
		t.Errorf("error %v", err)
	}
}

func TestToIsInterrupted(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := To(ctx, &strings.Builder{}, Options{URL: url}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}
