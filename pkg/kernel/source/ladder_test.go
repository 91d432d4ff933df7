package source

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestURLs(t *testing.T) {
	t.Parallel()
	const basic = "http-basic-auth - %s:*******"
	type urls struct{ API, Clone, Auth string }
	for name, test := range map[string]struct {
		o    Options
		want urls
	}{
		"nothing given": {Options{}, urls{"https://api.github.com/", "https://github.com/coreos/linux.git", ""}},
		"a token":       {Options{Token: "s3cret"}, urls{"https://api.github.com/", "https://github.com/coreos/linux.git", "x-access-token"}},
		"another repository": {Options{Repository: "me/linux.fork"},
			urls{"https://api.github.com/", "https://github.com/me/linux.fork.git", ""}},
		"GitHub Enterprise": {Options{APIURL: "https://ghe.example.com/api/v3", Token: "s3cret"},
			urls{"https://ghe.example.com/api/v3/", "https://ghe.example.com/coreos/linux.git", "x-access-token"}},
		"a password in the API's URL": {Options{APIURL: "https://me:s3cret@ghe.example.com/api/v3/"},
			urls{"https://ghe.example.com/api/v3/", "https://ghe.example.com/coreos/linux.git", "me"}},
		"a mirror is no place for the token": {Options{CloneURL: "https://mirror.example.com/linux.git", Token: "s3cret"},
			urls{"", "https://mirror.example.com/linux.git", ""}},
		"nor is a host that begins like GitHub": {Options{CloneURL: "https://github.com.example.com/linux.git", Token: "s3cret"},
			urls{"", "https://github.com.example.com/linux.git", ""}},
		"nor is GitHub over plain HTTP": {Options{CloneURL: "http://github.com/coreos/linux.git", Token: "s3cret"},
			urls{"", "http://github.com/coreos/linux.git", ""}},
		"a password in the mirror's": {Options{CloneURL: "https://me:s3cret@mirror.example.com/linux.git"},
			urls{"", "https://mirror.example.com/linux.git", "me"}},
		"a query in the mirror's": {Options{CloneURL: "https://me:s3cret@mirror.example.com/linux.git?token=s3cret"},
			urls{"", "https://mirror.example.com/linux.git", "me"}},
		"a password for ssh": {Options{CloneURL: "ssh://me:s3cret@mirror.example.com/linux.git"},
			urls{"", "ssh://me@mirror.example.com/linux.git", ""}},
		"an API and a mirror": {Options{APIURL: "https://api.github.com", CloneURL: "https://mirror.example.com/linux.git"},
			urls{"https://api.github.com/", "https://mirror.example.com/linux.git", ""}},
		"a path":              {Options{CloneURL: "/home/me/my linux%.git"}, urls{"", "/home/me/my linux%.git", ""}},
		"a path with a space": {Options{CloneURL: "/home/me/my linux.git"}, urls{"", "/home/me/my linux.git", ""}},
		"ssh":                 {Options{CloneURL: "git@mirror.example.com:linux.git"}, urls{"", "git@mirror.example.com:linux.git", ""}},
	} {
		t.Run(name, func(t *testing.T) {
			test.o.Dir = "/opt/share/linux"
			l, err := newLadder(target(t, "4.7.3-coreos"), test.o)
			if err != nil {
				t.Fatal(err)
			}
			got := urls{Clone: l.clone}
			if l.api != nil {
				got.API = l.api.String()
			}
			if l.auth != nil {
				got.Auth = l.auth.String()
			}
			if test.want.Auth != "" {
				test.want.Auth = strings.Replace(basic, "%s", test.want.Auth, 1)
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("URLs (-want +got):\n%s", diff)
			}
		})
	}
}

func TestOptionsThatMakeNoSense(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		o        Options
		sentence string
	}{
		"no folder":           {Options{}, "no folder was given"},
		"a repository's URL":  {Options{Dir: "x", Repository: "https://github.com/coreos/linux"}, "is not a repository: it has to be owner/name"},
		"a repository's path": {Options{Dir: "x", Repository: "../linux"}, "is not a repository"},
		"a ref":               {Options{Dir: "x", Ref: "v1..2"}, `"v1..2" is not a name that git allows`},
		"a ref with a star":   {Options{Dir: "x", Ref: "refs/tags/*"}, "is not a name that git allows"},
		"an API":              {Options{Dir: "x", APIURL: "api.github.com"}, "the API's URL has to be https://HOST/PATH/"},
		"an API by file":      {Options{Dir: "x", APIURL: "file:///etc"}, "the API's URL has to be https://HOST/PATH/"},
		"a raw password":      {Options{Dir: "x", CloneURL: "https://me:hun/ter2@mirror.example.com/%x.git"}, "has to be percent-encoded"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := Checkout(t.Context(), target(t, "4.7.3-coreos"), test.o)
			wantError(t, err, stage.Usage, test.sentence)
			if strings.Contains(err.Error(), "ter2") {
				t.Errorf("the error shows a password: %v", err)
			}
		})
	}
}

func TestTokenStaysWithTheAPI(t *testing.T) {
	t.Parallel()
	r := newRepository(t)
	o := r.options(t)
	// The API has moved, to a host that the token is not for.
	moved := httptest.NewServer(r.watched(http.HandlerFunc(func(w http.ResponseWriter, request *http.Request) {
		http.Redirect(w, request, r.api.URL+request.URL.Path, http.StatusMovedPermanently)
	})))
	t.Cleanup(moved.Close)
	o.APIURL, o.Token = moved.URL+"/api/v3/", "s3cret"
	if _, err := Checkout(t.Context(), target(t, "4.8.1-coreos"), o); err != nil {
		t.Fatal(err)
	}
	var sent []string
	for _, request := range r.seen {
		if request.Header.Get("Authorization") != "" {
			sent = append(sent, request.Host)
		}
	}
	if diff := cmp.Diff([]string{strings.TrimPrefix(moved.URL, "http://")}, sent); diff != "" {
		t.Errorf("hosts that were sent credentials (-want +got):\n%s", diff)
	}
}

func TestParseVersion(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct{ makefile, want, err string }{
		"as kernels have it": {"# SPDX\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 176\nEXTRAVERSION =\nNAME = Curry Ramen\n", "6.1.176", ""},
		"an extra version":   {"VERSION = 4\nPATCHLEVEL = 9\nSUBLEVEL = 0\nEXTRAVERSION = -rc8\n", "4.9.0-rc8", ""},
		"only the first":     {"VERSION = 4\nPATCHLEVEL = 9\nSUBLEVEL = 0\nEXTRAVERSION =\nVERSION = 5\n", "4.9.0", ""},
		"another's Makefile": {"all:\n\techo\n", "", "not a kernel's: it sets no VERSION"},
		"an expression":      {"VERSION = $(shell id)\nPATCHLEVEL = 9\nSUBLEVEL = 0\n", "", "it sets no VERSION"},
		"empty":              {"", "", "it sets no VERSION"},
		"one endless line":   {strings.Repeat("x", 1<<20), "", "token too long"},
		"too far down":       {strings.Repeat("#\n", 1<<16) + "VERSION = 4\n", "", "it sets no VERSION"},
	} {
		t.Run(name, func(t *testing.T) {
			got, err := parseVersion(strings.NewReader(test.makefile))
			if err != nil && (test.err == "" || !strings.Contains(err.Error(), test.err)) || err == nil && test.err != "" {
				t.Fatalf("error is %v, want %q", err, test.err)
			}
			if got.String() != test.want {
				t.Errorf("version is %q, want %q", got, test.want)
			}
		})
	}
}

func TestVersionBuilds(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		number, extra, release string
		want                   bool
	}{
		{"4.7.3", "", "4.7.3-coreos-r2", true},
		{"4.7.3", "-coreos", "4.7.3-coreos-r2", true},
		{"4.7.3", "-coreos-r2", "4.7.3-coreos-r2", true},
		{"3.17.2", "", "3.17.2+", true},
		{"6.12.0", "", "6.12.0-flatcar", true},
		{"5.10.0", "-rc1", "5.10.0-rc1", true},
		{"5.10.0", "-rc1", "5.10.0-rc10", false},
		{"5.10.0", "-rc1", "5.10.0", false},
		{"4.7.3", "-core", "4.7.3-coreos", false},
		{"4.7.4", "", "4.7.3-coreos", false},
		{"4.7.31", "", "4.7.3-coreos", false},
	} {
		if got := (version{test.number, test.extra}).builds(parse(t, test.release)); got != test.want {
			t.Errorf("%s%s builds %s: %v, want %v", test.number, test.extra, test.release, got, test.want)
		}
	}
}

func TestReleaseThatNoRefMayHold(t *testing.T) {
	t.Parallel()
	l, err := newLadder(kernel.Target{Release: parse(t, "5.10.0~rc3"), Arch: kernel.X86_64}, Options{Dir: "x"})
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{"refs/tags/v5.10-rc3"}, l.refs); diff != "" {
		t.Errorf("refs (-want +got):\n%s", diff)
	}
}
