package cuda

import (
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// releasesText has the form of NVIDIA's list, of which two entries are those of 2024.
const releasesText = `{
 "535": {"type": "lts branch", "driver_info": [
  {"release_version": "535.161.08", "release_date": "2024-03-18", "release_notes": "https://docs.nvidia.com/535", "architectures": ["x86_64", "aarch64", "ppc64le"],
   "runfile_url": {"x86_64": "https://us.download.nvidia.com/tesla/535.161.08/NVIDIA-Linux-x86_64-535.161.08.run", "aarch64": "https://us.download.nvidia.com/tesla/535.161.08/NVIDIA-Linux-aarch64-535.161.08.run"}},
  {"release_version": "535.104.12", "architectures": ["x86_64"], "runfile_url": {"x86_64": "https://example.com/x", "aarch64": "https://example.com/a"}}]},
 "550": {"type": "production branch", "driver_info": [
  {"release_version": "550.54.15", "release_date": "2024-03-18", "architectures": ["x86_64", "aarch64"],
   "runfile_url": {"x86_64": "https://us.download.nvidia.com/tesla/550.54.15/NVIDIA-Linux-x86_64-550.54.15.run", "aarch64": "https://us.download.nvidia.com/tesla/550.54.15/NVIDIA-Linux-aarch64-550.54.15.run"}}]},
 "515": {"type": "New Feature Branch", "driver_info": [
  {"release_version": "515.48.07", "architectures": ["x86_64"], "runfile_url": {"x86_64": "https://example.com/x"}},
  {"release_version": "515.105.01", "architectures": ["x86_64"], "runfile_url": {"x86_64": "https://example.com/x"}},
  {"release_version": "soon", "architectures": ["x86_64"], "runfile_url": {"x86_64": "https://example.com/x"}}]}
}`

func TestParseReleases(t *testing.T) {
	t.Parallel()
	got, err := ParseReleases(releasesText, kernel.X86_64)
	want := []Release{{"550.54.15", Production}, {"535.161.08", LongTerm}, {"535.104.12", LongTerm}, {"515.105.01", newFeature}, {"515.48.07", newFeature}}
	if diff := cmp.Diff(want, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	got, err = ParseReleases(releasesText, kernel.AArch64)
	if diff := cmp.Diff([]Release{{"550.54.15", Production}, {"535.161.08", LongTerm}}, got); err != nil || diff != "" {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	for _, text := range []string{"", "[]", "<html>", "{}", `{"535": {"driver_info": [{"release_version": "535.1"}]}}`} {
		if got, err := ParseReleases(text, kernel.X86_64); err == nil {
			t.Errorf("%q has %v", text, got)
		}
	}
}

func TestFetchReleases(t *testing.T) {
	t.Parallel()
	text := releasesText
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { _, _ = w.Write([]byte(text)) }))
	t.Cleanup(server.Close)
	o := download.Options{URL: "http://me:pw@" + strings.TrimPrefix(server.URL, "http://") + "/releases.json", Pause: time.Nanosecond}
	if got, err := FetchReleases(t.Context(), o, kernel.X86_64); err != nil || len(got) != 5 {
		t.Errorf("%v, %v", got, err)
	}
	text = "<html>no such page</html>"
	if _, err := FetchReleases(t.Context(), o, kernel.X86_64); err == nil || !strings.Contains(err.Error(), server.URL) || strings.Contains(err.Error(), "pw") {
		t.Errorf("error %v", err)
	}
	text = strings.Repeat(" ", maxReleases+1)
	if _, err := FetchReleases(t.Context(), o, kernel.X86_64); !errors.As(err, new(*download.SizeError)) {
		t.Errorf("error %v", err)
	}
}

// TestKnownReleases: those lines whose kind a user can ask for are there.
func TestKnownReleases(t *testing.T) {
	t.Parallel()
	for _, arch := range []kernel.Arch{kernel.X86_64, kernel.AArch64} {
		list := KnownReleases(arch)
		for i, r := range list {
			if KnownDigest(arch, r.Version) == "" || i > 0 && CompareVersions(list[i-1].Version, r.Version) <= 0 {
				t.Errorf("%s: %s is of no digest, or out of order", arch, r.Version)
			}
		}
		for _, wish := range []Wish{Latest, LatestProduction, LatestLongTerm, "580", "535"} {
			if _, _, err := wish.Choose(list, "the table", func(string) error { return nil }); err != nil {
				t.Errorf("%s, %s: %v", arch, wish, err)
			}
		}
	}
	for line := range knownKinds {
		if !strings.Contains(knownDigests, "/"+line+".") {
			t.Errorf("no driver of the line %s is known", line)
		}
	}
}

func TestWish(t *testing.T) {
	t.Parallel()
	list := []Release{{"580.65.06", LongTerm}, {"580.126.09", LongTerm}, {"595.45.04", Production}, {"570.211.01", Production}, {"610.43.02", newFeature}, {"580.126.09", ""}}
	breaks := func(versions ...string) func(string) error {
		return func(version string) error {
			for _, v := range versions {
				if v == version {
					return stage.New(stage.Driver, "it does not compile", "")
				}
			}
			return nil
		}
	}
	for _, tt := range []struct {
		wish      Wish
		fits      func(string) error
		want, why string
	}{
		{"580", breaks(), "580.126.09", "the newest of the line 580 that the list has"},
		{"580", breaks("580.126.09"), "580.65.06", "the newest of the line 580 that the list has and that will do; 1 newer will not, 580.126.09: it does not compile"},
		{Latest, breaks(), "610.43.02", "the newest of all drivers that the list has"},
		{LatestProduction, breaks("595.45.04"), "570.211.01", "the newest of the production branches that the list has and that will do; 1 newer will not, 595.45.04: it does not compile"},
		{LatestLongTerm, breaks(), "580.126.09", "the newest of the lts branches that the list has"},
		{"570", breaks("570.211.01"), "", "none of the 1 drivers of the line 570 that the list has will do here: 570.211.01: it does not compile"},
		{"575", breaks(), "", "the list has no driver of the line 575"},
	} {
		got, why, err := tt.wish.Choose(list, "the list", tt.fits)
		if err != nil {
			why = reasonOf(err)
		}
		if got != tt.want || why != tt.why || (err != nil) != (tt.want == "") || err != nil && stage.ExitCode(err) != 11 {
			t.Errorf("%s: %q, %q, %v, want %q, %q", tt.wish, got, why, err, tt.want, tt.why)
		}
	}
	for text, want := range map[string]bool{"580": true, "latest": true, "production": true, "lts": true, "58": false, "580.1": false, "": false, "newest": false} {
		if _, is := ParseWish(text); is != want {
			t.Errorf("%q is a wish: %v", text, is)
		}
	}
}
