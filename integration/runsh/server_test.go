//go:build integration

package runsh

import (
	"bytes"
	"net/http"
	"net/http/httptest"
	"strconv"
	"sync"
	"testing"
	"time"
)

// server is a download server that can misbehave as real ones do.
type server struct {
	URL     string // of the archive
	content []byte // that the digest in run.sh names

	mu       sync.Mutex
	requests []string // the Range header of each GET, "" for a whole download

	BreakAfter int64  // bytes after which a download's connection breaks
	Breaks     int    // how many downloads break so
	NoRanges   bool   // a Range header is ignored, as some proxies do
	Status     int    // answers every request with this instead
	Claims     int64  // the size that HEAD answers, where it is not the content's
	Sends      []byte // is sent instead of the content
}

// serve serves content as the archive name, with what misbehave sets.
func serve(t *testing.T, name string, content []byte, misbehave func(*server)) *server {
	t.Helper()
	s := &server{content: content}
	if misbehave != nil {
		misbehave(s)
	}
	listener := httptest.NewServer(s)
	t.Cleanup(listener.Close)
	s.URL = listener.URL + "/" + name
	return s
}

func (s *server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if r.Method == http.MethodGet {
		s.requests = append(s.requests, r.Header.Get("Range"))
	}
	if s.Status != 0 {
		http.Error(w, http.StatusText(s.Status), s.Status)
		return
	}
	if r.Method == http.MethodHead && s.Claims != 0 {
		w.Header().Set("Content-Length", strconv.FormatInt(s.Claims, 10))
		return
	}
	if s.NoRanges {
		r.Header.Del("Range")
	}
	if r.Method == http.MethodGet && s.Breaks > 0 {
		s.Breaks--
		w = &breaking{ResponseWriter: w, left: s.BreakAfter}
	}
	content := s.content
	if s.Sends != nil {
		content = s.Sends
	}
	http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
}

// send has the server send something else from now on, or its content again.
func (s *server) send(content []byte) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.Sends = content
}

// Requests returns the Range header of each download so far.
func (s *server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string{}, s.requests...)
}

// breaking is a connection that breaks after some bytes.
type breaking struct {
	http.ResponseWriter
	left int64
}

func (b *breaking) Write(p []byte) (int, error) {
	if int64(len(p)) > b.left {
		p = p[:b.left]
	}
	n, err := b.ResponseWriter.Write(p)
	b.left -= int64(n)
	if err == nil && b.left == 0 {
		_ = http.NewResponseController(b.ResponseWriter).Flush()
		panic(http.ErrAbortHandler)
	}
	return n, err
}
