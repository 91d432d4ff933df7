package download

import (
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"regexp"
	"strings"
	"time"
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
	// Pause is how long to wait before the second try of what failed for the
	// moment; it doubles with each after that. Zero means a second.
	Pause time.Duration
	// Transport makes the requests; nil is the default one.
	Transport http.RoundTripper
	// Space is asked, with how many bytes are still to come, before any is
	// written; its error ends the download. Nil does not ask, and neither does
	// a server that does not say how many there are.
	Space func(bytes int64) error

	// came hears how many bytes are there, of how many, for tests that do
	// something half way.
	came func(done, total int64)
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
	return o.judge(hex.EncodeToString(sum.Sum(nil)))
}

// judge returns a digest that is the one that was asked for, if one was.
func (o Options) judge(digest string) (string, error) {
	if o.SHA256 != "" && !strings.EqualFold(o.SHA256, digest) {
		return "", &DigestError{URL: Shown(o.URL), Got: digest, Want: strings.ToLower(o.SHA256)}
	}
	return digest, nil
}

// IsURL says whether text is an address that [File] can fetch from.
func IsURL(text string) bool {
	scheme, _, ok := strings.Cut(text, "://")
	return ok && (strings.EqualFold(scheme, "http") || strings.EqualFold(scheme, "https"))
}

// IsSHA256 says whether text is a digest as [Options] takes one.
func IsSHA256(text string) bool {
	digest, err := hex.DecodeString(text)
	return err == nil && len(digest) == sha256.Size
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

// Bare is an HTTP client's error whose words hold no address but as [Shown] has
// it. Clients repeat the whole of one, also where a server or a proxy's setting
// brought it up.
func Bare(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	var wrapped *url.Error
	if errors.As(err, &wrapped) {
		text = strings.ReplaceAll(text, wrapped.Error(), wrapped.Err.Error())
	}
	text = address.ReplaceAllStringFunc(text, Shown)
	if text == err.Error() {
		return err
	}
	return &bareError{text, err}
}

// address is one amid other words, without what ends it there.
var address = regexp.MustCompile(`(?i)\bhttps?://[^\s"]*[^\s":,.)]`)

// bareError is an error in other words.
type bareError struct {
	text string
	err  error
}

// Error says what the error does, without secrets.
func (e *bareError) Error() string { return e.text }

// Unwrap returns the error as it was.
func (e *bareError) Unwrap() error { return e.err }
