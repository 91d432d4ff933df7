package retry

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"time"
)

// Temporary is a failure that may be gone a moment later.
type Temporary struct {
	Err error
	// After is how long the server asks to be left alone; zero: it did not say.
	After time.Duration
}

// Error is that of what failed.
func (t *Temporary) Error() string { return t.Err.Error() }

// Unwrap returns what failed.
func (t *Temporary) Unwrap() error { return t.Err }

// May says whether an error may be gone a moment later.
func May(err error) bool {
	var t *Temporary
	return errors.As(err, &t)
}

// Connection is a connection's failure, marked as [Temporary] unless it is of a
// kind that does not pass: there is no such host, or it is not who it says it is.
func Connection(err error) error {
	var name *net.DNSError
	var certificate *tls.CertificateVerificationError
	if errors.As(err, &name) && name.IsNotFound || errors.As(err, &certificate) {
		return err
	}
	return &Temporary{Err: err}
}

// Hint is what to do about a connection's failure: otherwise, unless it is that nobody
// this container trusts vouches for the server, as where a proxy puts its own
// certificate in the place of the server's.
func Hint(err error, otherwise string) string {
	if errors.As(err, new(*tls.CertificateVerificationError)) || errors.As(err, new(x509.UnknownAuthorityError)) {
		return "if a proxy reads what passes it, have its certificate authority trusted: -v CA.pem:/ca.pem:ro -e SSL_CERT_FILE=/ca.pem on the docker run line; else find out who answers in the server's place"
	}
	return otherwise
}

// Response is the temporary failure that an answer's status stands for, or nil:
// the server's own trouble, or its wish to be asked less often
// (https://docs.github.com/rest/using-the-rest-api/rate-limits-for-the-rest-api).
func Response(response *http.Response) *Temporary {
	after := After(response.Header, time.Now())
	switch s := response.StatusCode; {
	case s == http.StatusTooManyRequests, s == http.StatusRequestTimeout, s == http.StatusForbidden && after > 0,
		s >= 500 && s != http.StatusNotImplemented:
		return &Temporary{Err: fmt.Errorf("the server answered %s", response.Status), After: after}
	}
	return nil
}

// After is how long an answer's header asks to wait, by Retry-After or by
// GitHub's X-RateLimit-Reset; zero: it does not.
func After(h http.Header, now time.Time) time.Duration {
	if s := h.Get("Retry-After"); s != "" {
		if seconds, err := strconv.Atoi(s); err == nil {
			return time.Duration(seconds) * time.Second
		}
		if at, err := http.ParseTime(s); err == nil {
			return at.Sub(now)
		}
	}
	if h.Get("X-Ratelimit-Remaining") == "0" {
		if reset, err := strconv.ParseInt(h.Get("X-Ratelimit-Reset"), 10, 64); err == nil {
			return time.Unix(reset, 0).Sub(now)
		}
	}
	return 0
}
