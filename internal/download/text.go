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
func Text(ctx context.Context, o Options) (text string, err error) {
	err = retry.Loop{Pause: o.Pause}.Do(ctx, func() (progress bool, err error) {
		text, err = o.text(ctx)
		return false, err
	})
	return text, err
}

// text makes one request.
func (o Options) text(ctx context.Context) (string, error) {
	idle := o.Idle
	if idle == 0 {
		idle = DefaultIdle
	}
	timed, cancel := context.WithTimeoutCause(ctx, idle, errIdle)
	defer cancel()
	request, err := http.NewRequestWithContext(timed, http.MethodGet, o.URL, nil)
	if err != nil {
		return "", o.named(errors.New("it is not an address"))
	}
	client := http.Client{CheckRedirect: checkRedirect}
	response, err := client.Do(request)
	if err == nil {
		defer response.Body.Close()
		if response.StatusCode != http.StatusOK {
			return "", o.refused(response)
		}
		var text strings.Builder
		if _, err = io.Copy(&text, io.LimitReader(response.Body, o.Limit+1)); err == nil {
			if int64(text.Len()) > o.Limit {
				return "", &SizeError{URL: Shown(o.URL), Limit: o.Limit}
			}
			return text.String(), nil
		}
	}
	switch {
	case ctx.Err() != nil:
		return "", ctx.Err()
	case errors.Is(err, errRedirect):
		return "", o.named(errRedirect)
	case timed.Err() != nil:
		return "", o.passing(errIdle)
	}
	return "", o.passing(err)
}
