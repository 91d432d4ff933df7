package flatcar

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/stage"
)

func TestParse(t *testing.T) {
	for text, want := range map[string]Release{
		"4593.2.5": {"4593.2.5", "stable"}, "4757.1.0": {"4757.1.0", "beta"}, "4790.0.0": {"4790.0.0", "alpha"}, "4081.3.10": {"4081.3.10", "lts"},
		"stable": {"", "stable"}, "lts": {"", "lts"},
	} {
		got, err := Parse(text)
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
	for _, text := range []string{"", "current", "4593.4.5", "4593.2", "0.0.0", "../2.5", "4593.2.5/..", "stable/4593.2.5"} {
		_, err := Parse(text)
		if stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), "as 4593.2.5, or a channel") {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// sums are as a file of Flatcar's, which has digests of three kinds.
var sums = "# MD5 HASH\n" + strings.Repeat("1", 32) + "  flatcar_production_pxe.vmlinuz\n# SHA1 HASH\n" + strings.Repeat("2", 40) +
	"  flatcar_production_pxe.vmlinuz\n# SHA512 HASH\n" + strings.Repeat("3", 128) + "  another.vmlinuz\n" + strings.Repeat("4", 128) + "  flatcar_production_pxe.vmlinuz\n"

func server(t *testing.T, files map[string]string) Options {
	t.Helper()
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		text, ok := files[r.URL.Path]
		if !ok {
			http.NotFound(w, r)
			return
		}
		_, _ = w.Write([]byte(text))
	}))
	t.Cleanup(s.Close)
	return Options{Server: s.URL + "/{channel}", Pause: time.Millisecond}
}

func TestFind(t *testing.T) {
	o := server(t, map[string]string{
		"/stable/amd64-usr/current/version.txt":                             "FLATCAR_BUILD=4593\nFLATCAR_VERSION=4593.2.5\nFLATCAR_VERSION_ID=4593.2.5\n",
		"/stable/amd64-usr/4593.2.5/flatcar_production_pxe.vmlinuz.DIGESTS": sums,
		"/lts/amd64-usr/4081.3.10/flatcar_production_pxe.vmlinuz.DIGESTS":   sums,
	})
	for text, channel := range map[string]string{"stable": "stable", "4593.2.5": "stable", "4081.3.10": "lts"} {
		release, err := Parse(text)
		if err != nil {
			t.Fatal(err)
		}
		got, err := o.Find(t.Context(), release)
		want := Kernel{Release{"4593.2.5", channel}, "", strings.Repeat("4", 128)}
		if channel == "lts" {
			want.Version = "4081.3.10"
		}
		want.URL = strings.Replace(o.Server, "{channel}", channel, 1) + "/amd64-usr/" + want.Version + "/flatcar_production_pxe.vmlinuz"
		if diff := cmp.Diff(want, got); err != nil || diff != "" {
			t.Errorf("%s: %v %s", text, err, diff)
		}
	}
	if got := (Options{}).url(Release{"4593.2.5", "stable"}, "x"); got != "https://stable.release.flatcar-linux.net/amd64-usr/x" {
		t.Error(got)
	}
}

func TestFindFails(t *testing.T) {
	for name, c := range map[string]struct {
		release Release
		files   map[string]string
		offline bool
		want    string
	}{
		"no such release": {Release{"4593.2.6", "stable"}, nil, false, "Flatcar has published no release 4593.2.6 in the channel stable"},
		"another channel's newest": {Release{"", "stable"}, map[string]string{"/stable/amd64-usr/current/version.txt": "FLATCAR_VERSION=4757.1.0\n"}, false,
			`its version.txt names "4757.1.0"`},
		"no version": {Release{"", "stable"}, map[string]string{"/stable/amd64-usr/current/version.txt": "<html>"}, false, `its version.txt names ""`},
		"no channel": {Release{"", "stable"}, nil, false, "it cannot be told which kernel the Flatcar release has"},
		"digests of another file": {Release{"4593.2.5", "stable"}, map[string]string{
			"/stable/amd64-usr/4593.2.5/flatcar_production_pxe.vmlinuz.DIGESTS": strings.ReplaceAll(sums, "  flatcar", "  other")}, false, "DIGESTS has no SHA-512 of the kernel"},
		"offline": {Release{"4593.2.5", "stable"}, nil, true, "--offline forbids to ask which kernel"},
	} {
		o := server(t, c.files)
		o.Offline = c.offline
		_, err := o.Find(t.Context(), c.release)
		var failure *stage.Error
		if !errors.As(err, &failure) || failure.Stage != stage.Detect || failure.Hint == "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
