package download

import (
	"context"
	"errors"
	"io"
	"net/http"
	"strings"

	"github.com/k8sp/cuda/internal/retry"
)

// Text is what the server has, where that is small: a digest, a list. Of the options
// the URL, the limit, which must be there, the pause and the idle time count, which is
// here that of a whole answer. Errors are a [StatusError], a [SizeError], the context's
// or the network's.
func Text(ctx context.Context, o Options) (string, error) {
	var text strings.Builder
	err := o.short(ctx, http.MethodGet, func(body io.Reader) error {
		text.Reset()
		_, err := io.Copy(&text, io.LimitReader(body, o.Limit+1))
		if err == nil && int64(text.Len()) > o.Limit {
			return &SizeError{URL: Shown(o.URL), Limit: o.Limit}
		}
		return err
	})
	if err != nil {
		return "", err
	}
	return text.String(), nil
}

// Exists asks the server whether it has a file, and fetches nothing of it. The options and
// the errors are those of [Text] but for the limit.
func Exists(ctx context.Context, o Options) error {
	return o.short(ctx, http.MethodHead, func(io.Reader) error { return nil })
}

// short makes a request with a short answer until it comes or cannot.
func (o Options) short(ctx context.Context, method string, read func(io.Reader) error) error {
	return retry.Loop{Pause: o.Pause}.Do(ctx, func() (progress bool, err error) { return false, o.shortOnce(ctx, method, read) })
}

// shortOnce makes one request.
func (o Options) shortOnce(ctx context.Context, method string, read func(io.Reader) error) error {
	idle := o.Idle
	if idle == 0 {
		idle = DefaultIdle
	}
	timed, cancel := context.WithTimeoutCause(ctx, idle, errIdle)
	defer cancel()
	request, err := http.NewRequestWithContext(timed, method, o.URL, nil)
	if err != nil {
		return o.named(errors.New("it is not an address"))
	}
	client := http.Client{CheckRedirect: checkRedirect}
	response, err := client.Do(request)
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return o.refused(response)
		}
		err = read(response.Body)
	}
	switch {
	case err == nil:
		return nil
	case ctx.Err() != nil:
		return ctx.Err()
	case errors.Is(err, errRedirect):
		return o.named(errRedirect)
	case errors.As(err, new(*SizeError)):
		return err
	case timed.Err() != nil:
		return o.passing(errIdle)
	}
	return o.passing(err)
}
