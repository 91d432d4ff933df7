package download

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/k8sp/cuda/internal/progress"
)

// DefaultIdle is how long a server may send nothing before it is given up.
const DefaultIdle = 30 * time.Second

// Options say what to fetch.
type Options struct {
	// URL is http:// or https://; a user and password in it are sent.
	URL string
	// SHA256 is what the file's digest must be, 64 hexadecimal digits; empty
	// compares nothing.
	SHA256 string
	// Limit is the most bytes that are read; 0 is no limit.
	Limit int64
	// Idle replaces [DefaultIdle].
	Idle time.Duration
	// Client sends the request; nil is [http.DefaultClient], which takes its
	// proxy from the environment.
	Client *http.Client
}

// StatusError is a server's answer that is not the file.
type StatusError struct {
	// URL is as [Shown] has it, Status "404 Not Found".
	URL, Status string
	Code        int
}

// Error says who answered what.
func (e *StatusError) Error() string { return fmt.Sprintf("%s answered %s", e.URL, e.Status) }

// SizeError is a file that is larger than it may be.
type SizeError struct {
	URL   string // as [Shown] has it
	Limit int64  // bytes
}

// Error names the limit.
func (e *SizeError) Error() string { return fmt.Sprintf("%s is larger than %d bytes", e.URL, e.Limit) }

// DigestError is a file that is not the one that was asked for.
type DigestError struct {
	URL       string // as [Shown] has it
	Got, Want string // SHA-256 in hexadecimal
}

// Error names both digests.
func (e *DigestError) Error() string {
	return fmt.Sprintf("%s has SHA-256 %s, not %s", e.URL, e.Got, e.Want)
}

// errIdle is the cause of the end of a download whose server keeps silent.
var errIdle = errors.New("the server sends nothing more")

// To writes the file to w and returns its SHA-256 in hexadecimal. On an error,
// a [StatusError], a [SizeError], a [DigestError], the context's or the network's, what w
// has received is of no use.
func To(ctx context.Context, w io.Writer, o Options) (digest string, err error) {
	shown := Shown(o.URL)
	idle := o.Idle
	if idle == 0 {
		idle = DefaultIdle
	}
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	silence := time.AfterFunc(idle, func() { cancel(errIdle) })
	defer silence.Stop()

	response, err := open(ctx, o, shown)
	if err != nil {
		return "", explain(ctx, shown, err)
	}
	defer response.Body.Close()
	task := progress.Begin(ctx, "download", progress.Bytes, response.ContentLength)
	defer task.End()
	digest, err = Copy(w, task.Reader(&attentive{response.Body, func() { silence.Reset(idle) }}), o)
	var other *DigestError
	var much *SizeError
	if err != nil && !errors.As(err, &other) && !errors.As(err, &much) {
		err = explain(ctx, shown, err)
	}
	return digest, err
}

// Copy writes what is in r to w, held against the limit and the digest of o,
// and returns its SHA-256 in hexadecimal. URL says where r comes from; it is a
// file's name as well.
func Copy(w io.Writer, r io.Reader, o Options) (digest string, err error) {
	if o.Limit > 0 {
		r = io.LimitReader(r, o.Limit+1)
	}
	sum := sha256.New()
	n, err := io.Copy(io.MultiWriter(w, sum), r)
	switch {
	case err != nil:
		return "", err
	case o.Limit > 0 && n > o.Limit:
		return "", &SizeError{URL: Shown(o.URL), Limit: o.Limit}
	}
	digest = hex.EncodeToString(sum.Sum(nil))
	if o.SHA256 != "" && !strings.EqualFold(o.SHA256, digest) {
		return "", &DigestError{URL: Shown(o.URL), Got: digest, Want: strings.ToLower(o.SHA256)}
	}
	return digest, nil
}

func open(ctx context.Context, o Options, shown string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, o.URL, nil)
	if err != nil {
		return nil, errors.New("it is not an address")
	}
	client := o.Client
	if client == nil {
		client = http.DefaultClient
	}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	if response.StatusCode != http.StatusOK {
		_ = response.Body.Close()
		return nil, &StatusError{URL: shown, Status: response.Status, Code: response.StatusCode}
	}
	return response, nil
}

// explain gives an error the address, without credentials, and the cause of a
// context that was ended here.
func explain(ctx context.Context, shown string, err error) error {
	var status *StatusError
	if errors.As(err, &status) {
		return err
	}
	if cause := context.Cause(ctx); errors.Is(cause, errIdle) {
		err = cause
	} else if ctx.Err() != nil {
		return ctx.Err()
	}
	// The client's own error repeats the address, with what is secret in it.
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		err = wrapped.Err
	}
	return fmt.Errorf("%s: %w", shown, err)
}

// attentive calls heard after every read that brought something.
type attentive struct {
	io.Reader
	heard func()
}

// Read implements [io.Reader].
func (a *attentive) Read(p []byte) (int, error) {
	n, err := a.Reader.Read(p)
	if n > 0 {
		a.heard()
	}
	return n, err
}

// IsURL says whether text is an address that [To] can fetch from.
func IsURL(text string) bool {
	return strings.HasPrefix(text, "http://") || strings.HasPrefix(text, "https://")
}

// Shown is an address for people and logs: without its user, password and
// query, which may be secrets.
func Shown(address string) string {
	u, err := url.Parse(address)
	if err != nil {
		return "the address"
	}
	u.User, u.RawQuery, u.Fragment = nil, "", ""
	return u.String()
}
