package registry

import (
	"context"
	"io"
	"net/http"
	"sync"
	"time"
)

// silence is how long a registry may do nothing of what it was asked for: it may have to
// digest what was pushed.
const silence = 2 * time.Minute

// errSilent is the end of a request whose registry has kept silent. It is a network's
// error that passes, so go-containerregistry asks again, and so does who waits for an
// artefact: see [Unavailable].
var errSilent error = silent{}

type silent struct{}

func (silent) Error() string   { return "the registry has done nothing for " + silence.String() }
func (silent) Timeout() bool   { return true }
func (silent) Temporary() bool { return true }

// patient is a transport that waits as long as something goes on: a registry may be as
// slow as it is, but one that takes nothing more of what it is sent, does not answer, or
// does not end its answer has failed. Neither net/http nor go-containerregistry has a
// limit for the first and the last of these.
type patient struct{ base http.RoundTripper }

func (p patient) RoundTrip(request *http.Request) (*http.Response, error) {
	ctx, cancel := context.WithCancelCause(request.Context())
	w := &watch{ctx: ctx, cancel: cancel}
	w.timer = time.AfterFunc(silence, func() { cancel(errSilent) })
	request = request.WithContext(ctx) // a copy, with a body of its own
	request.Body = w.sending(request.Body)
	if get := request.GetBody; get != nil {
		request.GetBody = func() (io.ReadCloser, error) {
			body, err := get()
			return w.sending(body), err
		}
	}
	response, err := p.base.RoundTrip(request)
	w.answered()
	if err != nil {
		err = w.why(err)
		cancel(nil)
		return nil, err
	}
	response.Body = &receiving{response.Body, w}
	return response, nil
}

// watch ends a request that nothing comes of.
type watch struct {
	ctx    context.Context
	cancel context.CancelCauseFunc

	mu    sync.Mutex // guards what follows
	timer *time.Timer
	begun bool // the answer has
}

// pause and goOn are around what the registry is not to blame for.
func (w *watch) pause() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		w.timer.Stop()
	}
}

func (w *watch) goOn() {
	w.mu.Lock()
	defer w.mu.Unlock()
	if !w.begun {
		w.timer.Reset(silence)
	}
}

// answered is the end of the part of a request in which it is sent.
func (w *watch) answered() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.begun = true
	w.timer.Stop()
}

// why is the error of a request: that of the registry's silence, where that has ended it.
func (w *watch) why(err error) error {
	if context.Cause(w.ctx) == errSilent {
		return errSilent
	}
	return err
}

// sending is a request's body. The transport reads on once the connection has taken what
// it has read.
func (w *watch) sending(body io.ReadCloser) io.ReadCloser {
	if body == nil || body == http.NoBody {
		return body
	}
	return &sending{body, w}
}

type sending struct {
	io.ReadCloser
	watch *watch
}

func (s *sending) Read(p []byte) (int, error) {
	s.watch.pause()
	defer s.watch.goOn()
	return s.ReadCloser.Read(p)
}

// receiving is an answer's body.
type receiving struct {
	io.ReadCloser
	watch *watch
}

func (r *receiving) Read(p []byte) (int, error) {
	r.watch.timer.Reset(silence)
	defer r.watch.timer.Stop()
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = r.watch.why(err)
	}
	return n, err
}

func (r *receiving) Close() error {
	err := r.ReadCloser.Close()
	r.watch.cancel(nil)
	return err
}
