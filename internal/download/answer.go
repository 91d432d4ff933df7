package download

import (
	"errors"
	"net/http"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/internal/retry"
)

// accept looks at an answer's head, and readies the part for its body.
func (p *part) accept(response *http.Response, o Options) error {
	switch response.StatusCode {
	case http.StatusOK:
		if err := p.begin(response, o); err != nil {
			return err
		}
	case http.StatusPartialContent:
		start, total := contentRange(response.Header.Get("Content-Range"))
		// An answer need not repeat what If-Range was asked with (RFC 9110, 15.3.7).
		same := validator(response.Header)
		if !p.resumable() || start != p.size || total > 0 && total != p.Size || same != "" && same != p.Validator {
			return errors.Join(p.restart(), o.passing(errors.New("the server has another file now, or sent another part of it")))
		}
	case http.StatusRequestedRangeNotSatisfiable:
		if p.resumable() {
			return errors.Join(p.restart(), o.passing(errors.New("the server does not have the rest of the file")))
		}
		fallthrough
	default:
		return o.refused(response)
	}
	if o.Space != nil && p.Size > p.size {
		return o.Space(p.Size - p.size)
	}
	return nil
}

// refused is the error of an answer that is not the file.
func (o Options) refused(response *http.Response) error {
	err := &StatusError{URL: Shown(o.URL), Status: response.Status, Code: response.StatusCode}
	if t := retry.Response(response); t != nil {
		return &retry.Temporary{Err: err, After: t.After}
	}
	return err
}

// begin forgets what has arrived, since an answer begins with the first byte.
func (p *part) begin(response *http.Response, o Options) error {
	length := response.ContentLength
	switch {
	case o.Limit > 0 && length > o.Limit:
		return &SizeError{URL: Shown(o.URL), Limit: o.Limit}
	case length < 0 && response.ProtoMajor < 2 && len(response.TransferEncoding) == 0 && o.SHA256 == "":
		return o.named(errors.New("the server does not say how long the file is, and a part of it could pass for the whole"))
	}
	if err := p.restart(); err != nil {
		return err
	}
	return p.know(validator(response.Header), max(length, 0))
}

// validator is what tells a version of the file from every other, as If-Range
// takes it (RFC 9110, 13.1.5): a strong ETag, else the time of its last change;
// empty where the server has neither.
func validator(h http.Header) string {
	if tag := h.Get("Etag"); strings.HasPrefix(tag, `"`) {
		return tag
	}
	return h.Get("Last-Modified")
}

// contentRange reads "bytes 5-9/10": where a part begins, -1 where it does not
// say, and how long the whole is, 0 where it does not say.
func contentRange(header string) (start, total int64) {
	span, whole, _ := strings.Cut(strings.TrimPrefix(header, "bytes "), "/")
	first, _, _ := strings.Cut(span, "-")
	start, err := strconv.ParseInt(first, 10, 64)
	if err != nil {
		return -1, 0
	}
	total, _ = strconv.ParseInt(whole, 10, 64)
	return start, total
}
