package download

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func serve(t *testing.T, handler http.HandlerFunc) string {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	return server.URL
}

// secret is the address of a file of a server, with what nobody may see.
func secret(base string) string {
	return strings.Replace(base, "//", "//me:hunter2@", 1) + "/vmlinuz?token=hunter3"
}

// names are the files in a folder.
func names(t *testing.T, dir string) string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var list []string
	for _, e := range entries {
		list = append(list, e.Name())
	}
	return strings.Join(list, " ")
}

func TestFile(t *testing.T) {
	t.Parallel()
	var user, encoding string
	var room, total int64
	base := serve(t, func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/moved" {
			http.Redirect(w, r, "/moved", http.StatusFound)
			return
		}
		user, _, _ = r.BasicAuth()
		encoding = r.Header.Get("Accept-Encoding")
		fmt.Fprint(w, content)
	})
	path := filepath.Join(t.TempDir(), "vmlinuz")
	digest, err := File(t.Context(), path, Options{
		URL: secret(base), SHA256: strings.ToUpper(contentSHA256), Limit: int64(len(content)),
		Space: func(bytes int64) error { room = bytes; return nil },
		came:  func(_, of int64) { total = of },
	})
	if err != nil || digest != contentSHA256 {
		t.Fatalf("digest %s, error %v", digest, err)
	}
	if got, err := os.ReadFile(path); err != nil || string(got) != content || names(t, filepath.Dir(path)) != "vmlinuz" {
		t.Errorf("content %q, error %v, beside %s", got, err, names(t, filepath.Dir(path)))
	}
	if user != "me" || encoding != "identity" || room != int64(len(content)) || total != room {
		t.Errorf("user %q, encoding %q, %d bytes of room, %d of progress", user, encoding, room, total)
	}
}

func TestFileFails(t *testing.T) {
	t.Parallel()
	good := func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, content) }
	status := func(code int, header ...string) http.HandlerFunc {
		return func(w http.ResponseWriter, _ *http.Request) {
			if len(header) > 0 {
				w.Header().Set(header[0], header[1])
			}
			w.WriteHeader(code)
		}
	}
	for _, tt := range []struct {
		name    string
		handler http.HandlerFunc
		options Options
		asked   int // 0: not counted, as of who falls silent, who may not have been asked when time is up
		says    string
	}{
		{"another file", good, Options{SHA256: strings.Repeat("0", 64)}, 1, "has SHA-256 " + contentSHA256 + ", not 000"},
		{"no file", http.NotFound, Options{}, 1, "answered 404 Not Found"},
		{"forbidden", status(403), Options{}, 1, "answered 403 Forbidden"},
		{"forbidden for an hour", status(403, "Retry-After", "3600"), Options{}, 1, "answered 403 Forbidden, and asks to wait 1h0m0s"},
		{"a broken server", status(500), Options{}, 5, "answered 500 Internal Server Error (tried 5 times)"},
		{"no such part of what was not asked for in parts", status(416), Options{}, 1, "answered 416"},
		{"a part of what was not asked for in parts", status(206, "Content-Range", "bytes 0-1/2"), Options{}, 5, "another part"},
		{"not modified", status(304), Options{}, 1, "answered 304"},
		{"too much, and says so", good, Options{Limit: int64(len(content)) - 1}, 1, "larger than 7 bytes"},
		{"endless", func(w http.ResponseWriter, _ *http.Request) {
			for err := error(nil); err == nil; {
				_, err = w.Write(make([]byte, 1<<16))
			}
		}, Options{Limit: 1 << 20}, 1, "larger than 1048576 bytes"},
		{"a length that is less", func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "4")
			fmt.Fprint(w, content[:4])
		}, Options{SHA256: contentSHA256}, 1, "not " + contentSHA256},
		{"a length that is more", func(w http.ResponseWriter, _ *http.Request) {
			w.Header().Set("Content-Length", "100")
			fmt.Fprint(w, content)
		}, Options{}, 5, "unexpected EOF (tried 5 times)"},
		{"no length, and no way to tell the end", func(w http.ResponseWriter, _ *http.Request) {
			c, rw, _ := http.NewResponseController(w).Hijack()
			fmt.Fprint(rw, "HTTP/1.0 200 OK\r\n\r\n"+content)
			_ = rw.Flush()
			_ = c.Close()
		}, Options{}, 1, "does not say how long"},
		{"silence at once", func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, Options{Idle: 20 * time.Millisecond}, 0, "sends nothing more (tried 5 times)"},
		{"silence half way", func(w http.ResponseWriter, r *http.Request) {
			fmt.Fprint(w, content)
			w.(http.Flusher).Flush()
			<-r.Context().Done()
		}, Options{Idle: 50 * time.Millisecond}, 0, "sends nothing more (tried 5 times)"},
		{"a loop", func(w http.ResponseWriter, r *http.Request) { http.Redirect(w, r, "/vmlinuz", http.StatusFound) }, Options{}, 10, "sends its callers around"},
		{"a redirect to what is no server", func(w http.ResponseWriter, r *http.Request) {
			http.Redirect(w, r, "file:///etc/passwd", http.StatusFound)
		}, Options{}, 1, "sends its callers around"},
		{"no room", good, Options{Space: func(int64) error { return errors.New("the disk of /vmlinuz is full") }}, 1, "is full"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var asked atomic.Int32
			o, dir := tt.options, t.TempDir()
			o.Pause = time.Millisecond
			o.URL = secret(serve(t, func(w http.ResponseWriter, r *http.Request) { asked.Add(1); tt.handler(w, r) }))
			_, err := File(t.Context(), filepath.Join(dir, "vmlinuz"), o)
			if err == nil || !strings.Contains(err.Error(), tt.says) {
				t.Fatalf("error %v, want one that says %q", err, tt.says)
			}
			if !strings.Contains(err.Error(), "/vmlinuz") || strings.Contains(err.Error(), "hunter") || strings.Contains(err.Error(), "me:") {
				t.Errorf("the error does not name the address without its secrets: %v", err)
			}
			if tt.asked > 0 && int(asked.Load()) != tt.asked {
				t.Errorf("asked %d times, want %d", asked.Load(), tt.asked)
			}
			if _, err := os.Stat(filepath.Join(dir, "vmlinuz")); err == nil {
				t.Error("what was not had is there")
			}
			var digest *DigestError
			var size *SizeError
			if (errors.As(err, &digest) || errors.As(err, &size)) && names(t, dir) != "" {
				t.Errorf("what is of no use is kept: %s", names(t, dir))
			}
		})
	}
}

func TestFileNobodyAnswers(t *testing.T) {
	t.Parallel()
	_, err := File(t.Context(), filepath.Join(t.TempDir(), "x"), Options{URL: "http://me:hunter2@127.0.0.1:1/x", Pause: time.Millisecond})
	if err == nil || !strings.Contains(err.Error(), "http://127.0.0.1:1/x: ") || !strings.Contains(err.Error(), "refused") || strings.Contains(err.Error(), "hunter") {
		t.Errorf("error %v", err)
	}
}

func TestFileIsInterrupted(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	url := serve(t, func(_ http.ResponseWriter, r *http.Request) {
		cancel()
		<-r.Context().Done()
	})
	if _, err := File(ctx, filepath.Join(t.TempDir(), "x"), Options{URL: url}); !errors.Is(err, context.Canceled) {
		t.Errorf("error %v, want the context's", err)
	}
}

// A disk's failure is not the network's, and is not tried again.
func TestFileOnADiskThatFails(t *testing.T) {
	t.Parallel()
	asked := 0
	url := serve(t, func(w http.ResponseWriter, _ *http.Request) { asked++; fmt.Fprint(w, content) })
	p, err := openPart(filepath.Join(t.TempDir(), "x"), url)
	if err != nil {
		t.Fatal(err)
	}
	// Between the answer and the first write.
	fails := func(int64, int64) { p.close() }
	if err := fetch(t.Context(), p, Options{URL: url, came: fails, Pause: time.Millisecond}); !errors.Is(err, os.ErrClosed) || asked != 1 {
		t.Errorf("error %v after %d requests", err, asked)
	}
}
