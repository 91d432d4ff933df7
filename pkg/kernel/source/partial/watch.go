package partial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/internal/retry"
)

// errStalled ends a request to a server that has said nothing for too long.
var errStalled = errors.New("the server accepted the connection and then fell silent")

// Temporary says whether an error of this package may be gone a moment later.
func Temporary(err error) bool { return retry.May(err) }

// Get reads what a URL holds, over HTTP, as this package reads a repository: it
// ends what stalls, and begins again where the connection fails in a way that
// may pass. Of the options it heeds those that are about the connection. Its
// errors do not tell the URL's query, which may be a secret.
func Get(ctx context.Context, o Options, url string, read func(io.Reader) error) error {
	c := &checkout{o: o.withDefaults()}
	return c.persist(ctx, func(ctx context.Context) error {
		w := newWatch(&c.o)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
		if err != nil {
			return download.Bare(err)
		}
		response, err := (&http.Client{Transport: w}).Do(request)
		if err != nil {
			return w.explain(err)
		}
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return w.explain(fmt.Errorf("the server answered %s", response.Status))
		}
		task := progress.Begin(ctx, "download", progress.Bytes, response.ContentLength)
		defer task.End()
		return w.explain(read(task.Reader(response.Body)))
	})
}

// watch is a transport that ends what stalls, and remembers what went wrong
// with the connection itself: what comes between it and the reader of a pack
// keeps the words of an error and not its type.
type watch struct {
	base http.RoundTripper
	// stall is how long neither side may be silent.
	stall time.Duration

	mu      sync.Mutex
	failure error
	// ended says that the last answer was git's and was read to its end.
	ended bool
}

func newWatch(o *Options) *watch {
	w := &watch{base: o.Transport, stall: o.Stall}
	if w.base == nil {
		w.base = http.DefaultTransport
	}
	return w
}

// failed returns the failure since it was last asked, or nil.
func (w *watch) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	err := w.failure
	w.failure = nil
	return err
}

// explain is the connection's own failure, where there was one, instead of
// what that looked like from afar. What a client says repeats addresses, which
// are shown without what may be secret in them.
func (w *watch) explain(err error) error {
	if failure := w.failed(); failure != nil && err != nil {
		return download.Bare(failure)
	}
	return download.Bare(err)
}

// cutShort says whether an answer that makes no sense may be only the beginning
// of one that does.
func (w *watch) cutShort() bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ended
}

func (w *watch) note(err error) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failure = err
	return err
}

// RoundTrip implements [http.RoundTripper].
func (w *watch) RoundTrip(request *http.Request) (*http.Response, error) {
	callers := request.Context()
	ctx, cancel := context.WithCancelCause(callers)
	timer := time.AfterFunc(w.stall, func() { cancel(errStalled) })
	give := func(err error) error {
		if errors.Is(context.Cause(ctx), errStalled) {
			err = fmt.Errorf("%w (%s)", errStalled, w.stall)
		}
		timer.Stop()
		cancel(nil)
		if callers.Err() != nil {
			return err // ours to end, nobody's failure
		}
		return w.note(retry.Connection(err))
	}
	request = request.WithContext(ctx)
	if request.Body != nil {
		request.Body = &watched{request.Body, timer, w.stall, func(err error) error { return err }, func() {}}
	}
	response, err := w.base.RoundTrip(request)
	if err != nil {
		return nil, give(err)
	}
	timer.Reset(w.stall)
	if t := retry.Response(response); t != nil {
		_ = w.note(t)
	}
	isGits := strings.HasPrefix(response.Header.Get("Content-Type"), "application/x-git-")
	w.setEnded(false)
	response.Body = &watched{response.Body, timer, w.stall, give, func() {
		timer.Stop()
		cancel(nil)
		w.setEnded(isGits)
	}}
	return response, nil
}

func (w *watch) setEnded(ended bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.ended = ended
}

// watched is a body: each read that brings something winds the clock up again.
type watched struct {
	io.ReadCloser
	timer *time.Timer
	stall time.Duration
	give  func(error) error // what a failure is
	end   func()
}

func (b *watched) Read(p []byte) (int, error) {
	n, err := b.ReadCloser.Read(p)
	if n > 0 {
		b.timer.Reset(b.stall)
	}
	if err != nil && !errors.Is(err, io.EOF) {
		err = b.give(err)
	}
	if err != nil {
		b.end()
	}
	return n, err
}

func (b *watched) Close() error {
	b.end()
	return b.ReadCloser.Close()
}
