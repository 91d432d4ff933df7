package source

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/google/go-github/v60/github"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/internal/retry"
)

// findByAPI asks GitHub's API for one ref after the other. The error is
// errNoRef when the API answered every time and none exists.
func (l *ladder) findByAPI(ctx context.Context) (found, error) {
	client := github.NewClient(l.httpClient())
	client.BaseURL = l.api
	patience := apiPatience
	for _, ref := range l.refs {
		answer, response, err := l.getRef(ctx, client, ref, &patience)
		if response != nil && response.StatusCode == http.StatusNotFound {
			continue
		}
		if err != nil {
			return found{}, err
		}
		hash := plumbing.NewHash(answer.GetObject().GetSHA())
		if hash.IsZero() {
			return found{}, fmt.Errorf("GitHub's API answered %s with something that is no ref", download.Shown(response.Request.URL.String()))
		}
		// GitHub's old API, which some servers still speak, answers with a
		// ref that merely begins with the name.
		if answer.GetRef() == ref {
			return found{ref: ref, hash: hash}, nil
		}
	}
	return found{}, errNoRef
}

// apiPatience is how long the API is waited for in all, where its rate limit
// ends that soon. Git's own protocol knows no such limit, so that whoever asks
// it instead is answered before a longer wait is over.
const apiPatience = 20 * time.Second

// getRef asks the API for one ref, and again after a rate limit that patience
// lasts for.
func (l *ladder) getRef(ctx context.Context, client *github.Client, ref string, patience *time.Duration) (*github.Reference, *github.Response, error) {
	owner, name, _ := strings.Cut(l.repository, "/")
	for {
		answer, response, err := client.Git.GetRef(ctx, owner, name, ref)
		if err == nil || ctx.Err() != nil {
			return answer, response, ctx.Err()
		}
		err = apiError(err, response)
		var limit *rateLimit
		if !errors.As(err, &limit) || limit.until.IsZero() {
			return nil, response, err
		}
		// A clock that is ahead of GitHub's would not wait at all.
		wait := max(time.Until(limit.until), time.Second)
		if wait > *patience {
			return nil, response, err
		}
		*patience -= wait
		zerolog.Ctx(ctx).Info().Err(err).Float64("seconds", wait.Seconds()).Msg("waiting until GitHub's API answers again")
		if err := retry.Sleep(ctx, wait); err != nil {
			return nil, response, err
		}
	}
}

// rateLimit is the API's refusal to answer more for now.
type rateLimit struct {
	until time.Time // zero: it did not say
	err   error
}

func (e *rateLimit) Error() string {
	if e.until.IsZero() {
		return "GitHub's API refuses more look-ups for now (rate limit)"
	}
	return fmt.Sprintf("GitHub's API refuses more look-ups until %s (rate limit)", e.until.UTC().Format("15:04 UTC"))
}

func (e *rateLimit) Unwrap() error { return e.err }

// apiError says in GitHub's terms what went wrong with a look-up.
func apiError(err error, response *github.Response) error {
	err = download.Bare(err) // a redirect's address may have a secret in it
	var primary *github.RateLimitError
	var secondary *github.AbuseRateLimitError
	switch {
	case errors.As(err, &primary):
		return &rateLimit{until: primary.Rate.Reset.Time, err: err}
	case errors.As(err, &secondary):
		limit := &rateLimit{err: err}
		if secondary.RetryAfter != nil {
			limit.until = time.Now().Add(*secondary.RetryAfter)
		}
		return limit
	case response == nil:
		return fmt.Errorf("GitHub's API does not answer: %w", err)
	}
	after := retry.After(response.Header, time.Now())
	switch {
	case response.StatusCode == http.StatusTooManyRequests, response.StatusCode == http.StatusForbidden && after > 0:
		limit := &rateLimit{err: err}
		if after > 0 {
			limit.until = time.Now().Add(after)
		}
		return limit
	case response.StatusCode >= 300:
		return fmt.Errorf("GitHub's API answered %s: %w", response.Status, err)
	default:
		return fmt.Errorf("GitHub's API answered %s with something that is no ref: %w", download.Shown(response.Request.URL.String()), err)
	}
}

// maxAnswer bounds what is read of an answer; a ref is some 500 bytes.
const maxAnswer = 1 << 20

// apiTransport adds credentials to requests to the API's own host, so that a
// redirect elsewhere does not carry them away, and bounds the answers.
type apiTransport struct {
	base  http.RoundTripper
	host  string
	token string
	user  *url.Userinfo
}

// RoundTrip implements [http.RoundTripper].
func (t *apiTransport) RoundTrip(request *http.Request) (*http.Response, error) {
	base := t.base
	if base == nil {
		base = http.DefaultTransport
	}
	if request.URL.Host == t.host {
		request = request.Clone(request.Context())
		switch {
		case t.token != "":
			request.Header.Set("Authorization", "Bearer "+t.token)
		case t.user != nil:
			password, _ := t.user.Password()
			request.SetBasicAuth(t.user.Username(), password)
		}
	}
	response, err := base.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	body := response.Body
	response.Body = struct {
		io.Reader
		io.Closer
	}{io.LimitReader(body, maxAnswer), body}
	return response, nil
}
