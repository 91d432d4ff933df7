package download

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/internal/retry"
)

// File leaves what the server has at path, whole, and returns its SHA-256 in
// hexadecimal. On an error, a [StatusError], a [SizeError], a [DigestError],
// Space's, the context's, the network's or the disk's, nothing is at path that
// was not there before. What has arrived is kept in path.part, for another call
// to go on from, unless it is of no use. Two calls must not share a path.
func File(ctx context.Context, path string, o Options) (digest string, err error) {
	p, err := openPart(path, Shown(o.URL))
	if err != nil {
		return "", err
	}
	defer p.close()
	inherited := p.size > 0
	for {
		if err := fetch(ctx, p, o); err != nil {
			if size := (*SizeError)(nil); errors.As(err, &size) {
				return "", errors.Join(err, p.remove())
			}
			return "", errors.Join(err, p.tidy())
		}
		digest, err = o.judge(p.digest())
		if err == nil {
			return digest, p.finish(path)
		}
		if !inherited {
			return "", errors.Join(err, p.remove())
		}
		// What an earlier run left may be what is wrong with it.
		zerolog.Ctx(ctx).Warn().Err(err).Msg("what was there of the file is of no use: fetching it anew")
		inherited = false
		if err := p.restart(); err != nil {
			return "", err
		}
	}
}

// fetch asks until the file is whole, or it makes no sense to ask again.
func fetch(ctx context.Context, p *part, o Options) error {
	loop := retry.Loop{Pause: o.Pause, Again: func(err error, wait time.Duration) {
		zerolog.Ctx(ctx).Warn().Err(err).Dur("wait", wait).Int64("bytes", p.size).Msg("the download broke off; trying again")
	}}
	return loop.Do(ctx, func() (progress bool, err error) {
		before := p.size
		if p.whole() {
			return true, nil
		}
		err = fetchOnce(ctx, p, o)
		return p.size > before, err
	})
}

// errIdle is the cause of the end of a request whose server keeps silent.
var errIdle = errors.New("the server sends nothing more")

// fetchOnce makes one request, for what is still missing.
func fetchOnce(ctx context.Context, p *part, o Options) error {
	idle := o.Idle
	if idle == 0 {
		idle = DefaultIdle
	}
	watched, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(idle, func() { cancel(errIdle) })
	defer silence.Stop()

	response, err := ask(watched, p, o)
	if err == nil {
		defer response.Body.Close()
		task := progress.Begin(ctx, "download", progress.Bytes, p.Size)
		defer task.End()
		task.Set(p.size) // what an earlier request brought
		err = receive(p, o, task.Reader(response.Body), func() { silence.Reset(idle) })
	}
	switch {
	case err != nil && ctx.Err() != nil:
		return ctx.Err()
	case err != nil && errors.Is(context.Cause(watched), errIdle):
		return o.passing(errIdle)
	}
	return err
}

// ask sends the request, and returns an answer that is the file or the rest of
// it.
func ask(ctx context.Context, p *part, o Options) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL, nil)
	if err != nil {
		return nil, o.named(errors.New("it is not an address"))
	}
	// Of a compressed answer neither the length nor a range would be the file's.
	request.Header.Set("Accept-Encoding", "identity")
	if p.resumable() {
		request.Header.Set("Range", fmt.Sprintf("bytes=%d-", p.size))
		request.Header.Set("If-Range", p.Validator)
	}
	// The default transport takes its proxy from the environment.
	client := http.Client{CheckRedirect: checkRedirect, Transport: o.Transport}
	response, err := client.Do(request)
	if errors.Is(err, errRedirect) {
		return nil, o.named(errRedirect)
	}
	if err != nil {
		return nil, o.passing(err)
	}
	if err := p.accept(response, o); err != nil {
		_ = response.Body.Close()
		return nil, err
	}
	return response, nil
}

var errRedirect = errors.New("the server sends its callers around")

// checkRedirect follows as many redirects as the standard library, but has an
// error that is not taken for the network's.
func checkRedirect(request *http.Request, via []*http.Request) error {
	if len(via) >= 10 || !IsURL(request.URL.String()) {
		return errRedirect
	}
	return nil
}

// receive appends what an answer brings to the part, and calls heard after each
// read that brought something.
func receive(p *part, o Options, body io.Reader, heard func()) error {
	most := p.Size // the server's own word
	if most == 0 && o.Limit > 0 {
		most = o.Limit
	}
	if most > 0 {
		body = io.LimitReader(body, most-p.size+1)
	}
	_, err := io.Copy(p, reader(func(b []byte) (int, error) {
		n, err := body.Read(b)
		if n > 0 {
			heard()
			if o.came != nil {
				o.came(p.size+int64(n), p.Size)
			}
		}
		return n, err
	}))
	switch {
	case p.failure != nil:
		return p.failure
	case err != nil:
		return o.passing(err)
	case most > 0 && p.size > most:
		return &SizeError{URL: Shown(o.URL), Limit: most}
	case p.size < p.Size:
		return o.passing(fmt.Errorf("the server sent %d of %d bytes", p.size, p.Size))
	}
	p.end = true
	return nil
}

// reader is a function that reads.
type reader func([]byte) (int, error)

// Read implements [io.Reader].
func (r reader) Read(b []byte) (int, error) { return r(b) }

// named gives an error the address, without its credentials.
func (o Options) named(err error) error { return fmt.Errorf("%s: %w", Shown(o.URL), Bare(err)) }

// passing is an error of the network, which may pass.
func (o Options) passing(err error) error { return retry.Connection(o.named(err)) }
