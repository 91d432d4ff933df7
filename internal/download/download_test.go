package download

import (
	"errors"
	"fmt"
	"io"
	"net/url"
	"strings"
	"testing"
)

const (
	content = "a kernel"
	// of content
	contentSHA256 = "4fff0d3e643b3894c17a0738fbdc591953aa722c9d42774425090accc4377126"
)

func TestCopy(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name    string
		options Options
		says    string // of the error; empty: there is none
	}{
		{"the file", Options{SHA256: strings.ToUpper(contentSHA256), Limit: int64(len(content))}, ""},
		{"another", Options{SHA256: strings.Repeat("0", 64)}, "vmlinuz has SHA-256 " + contentSHA256 + ", not 000"},
		{"too much", Options{Limit: int64(len(content)) - 1}, "vmlinuz is larger than 7 bytes"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var out strings.Builder
			tt.options.URL = "vmlinuz"
			digest, err := Copy(&out, strings.NewReader(content), tt.options)
			if tt.says == "" && (err != nil || digest != contentSHA256 || out.String() != content) {
				t.Errorf("digest %s, content %q, error %v", digest, out.String(), err)
			}
			if tt.says != "" && (err == nil || !strings.Contains(err.Error(), tt.says)) {
				t.Errorf("error %v, want %q", err, tt.says)
			}
		})
	}
}

func TestShown(t *testing.T) {
	t.Parallel()
	for address, want := range map[string]string{
		"https://me:hunter2@example.com/a/b?token=hunter2#c": "https://example.com/a/b",
		"https://me:%zz@example.com":                         "the address",
	} {
		if got := Shown(address); got != want {
			t.Errorf("%s is shown as %s", address, got)
		}
	}
}

func TestIsURL(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		"https://example.com/a": true, "HTTP://example.com": true,
		"http": false, "/http://a": false, "s3://a/b": false, "": false,
	} {
		if got := IsURL(text); got != want {
			t.Errorf("%q: %v", text, got)
		}
	}
}

func TestBare(t *testing.T) {
	t.Parallel()
	const secret = "https://me:hunter2@example.com/a?token=hunter2"
	for name, test := range map[string]struct {
		err  error
		says string
	}{
		"a client's":       {&url.Error{Op: "Get", URL: secret, Err: io.EOF}, "EOF"},
		"one around it":    {fmt.Errorf("unreachable: %w", &url.Error{Op: "Get", URL: secret, Err: io.EOF}), "unreachable: EOF"},
		"a redirect":       {fmt.Errorf("redirect to %s: %w", secret, io.EOF), "redirect to https://example.com/a: EOF"},
		"what is no URL":   {fmt.Errorf("invalid proxy %q: %w", "HTTP://me:hunter2%@proxy", io.EOF), `invalid proxy "the address": EOF`},
		"without any":      {io.EOF, "EOF"},
		"one with nothing": {fmt.Errorf("http://a/b: %w", io.EOF), "http://a/b: EOF"},
	} {
		if got := Bare(test.err); got.Error() != test.says || !errors.Is(got, io.EOF) {
			t.Errorf("%s: %v", name, got)
		}
	}
	if err := Bare(nil); err != nil {
		t.Errorf("no error: %v", err)
	}
}

func TestIsSHA256(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]bool{
		contentSHA256: true, strings.ToUpper(contentSHA256): true,
		"": false, contentSHA256[2:]: false, "../" + contentSHA256[3:]: false,
	} {
		if IsSHA256(text) != want {
			t.Errorf("%q is a digest: %v, want %v", text, !want, want)
		}
	}
}
