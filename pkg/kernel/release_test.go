package kernel

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/stage"
)

func TestParseRelease(t *testing.T) {
	t.Parallel()
	for _, want := range []Release{
		{Full: "4.7.3-coreos-r2", Version: "4.7.3", Flavour: "coreos", Package: 2},
		{Full: "4.19.25-coreos-r1", Version: "4.19.25", Flavour: "coreos", Package: 1},
		{Full: "4.9.0-coreos", Version: "4.9.0", Flavour: "coreos"},
		{Full: "3.17.2+", Version: "3.17.2", Plus: true},
		{Full: "4.0.5", Version: "4.0.5"},
		{Full: "6.1.192", Version: "6.1.192"},
		{Full: "6.12.103-flatcar", Version: "6.12.103", Flavour: "flatcar"},
		{Full: "6.1.0-49-amd64", Version: "6.1.0", Flavour: "49-amd64"},
		{Full: "6.12.74+deb13+1-amd64", Version: "6.12.74", Flavour: "deb13+1-amd64"},
		{Full: "5.14.0-427.el9.x86_64", Version: "5.14.0", Flavour: "427.el9.x86_64"},
		{Full: "6.1.21-v8+", Version: "6.1.21", Flavour: "v8", Plus: true},
		{Full: "5.10.0-rc3", Version: "5.10.0", Candidate: 3},
		{Full: "5.10.0-rc3-coreos-r1", Version: "5.10.0", Candidate: 3, Flavour: "coreos", Package: 1},
		{Full: "6.12~rc6-amd64", Version: "6.12", Candidate: 6, Flavour: "amd64"},
		{Full: "5.4.97-gentoo-r1", Version: "5.4.97", Flavour: "gentoo", Package: 1},
		{Full: "5.15.138.1-4.cm2", Version: "5.15.138", Extra: "1", Flavour: "4.cm2"},
		{Full: "6.6.57.1-7.azl3", Version: "6.6.57", Extra: "1", Flavour: "7.azl3"},
		{Full: "5.15.167.4-microsoft-standard-WSL2", Version: "5.15.167", Extra: "4", Flavour: "microsoft-standard-WSL2"},
		{Full: "6.12.118+deb13-amd64", Version: "6.12.118", Flavour: "deb13-amd64"},
		{Full: "6.1.109-118.189.amzn2023.x86_64", Version: "6.1.109", Flavour: "118.189.amzn2023.x86_64"},
		{Full: "6.8.12-4-pve", Version: "6.8.12", Flavour: "4-pve"},
		{Full: "6.12.18-talos", Version: "6.12.18", Flavour: "talos"},
		{Full: "6.18.44-fc-v669", Version: "6.18.44", Flavour: "fc-v669"},
	} {
		t.Run(want.Full, func(t *testing.T) {
			got, err := ParseRelease(want.Full)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

func TestParseReleaseRefuses(t *testing.T) {
	t.Parallel()
	for _, s := range []string{
		"", "6", "linux", "6.1.x", "v6.1.0", "../6.1.0", "6.1.0/../..", "6.1.0..", "6.1.0-a..b", "6.1.0-",
		"6.6.57.1.2-azl3", "6.1.0 x", "6.1.0\n", "6.1.0-é", "99999.1.0", "6.1.0-" + strings.Repeat("a", 64),
	} {
		if got, err := ParseRelease(s); err == nil {
			t.Errorf("%q: no error, got %+v", s, got)
		}
	}
	if _, err := ParseRelease("frob"); err == nil || !strings.Contains(err.Error(), `"frob"`) {
		t.Errorf("the error does not name the release: %v", err)
	}
}

func TestAtLeast(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		release      string
		major, minor int
		want         bool
	}{
		{"5.10.0-rc3", 5, 10, true},
		{"5.9.16", 5, 10, false},
		{"6.1.0-49-amd64", 5, 10, true},
		{"4.19.25-coreos-r1", 5, 4, false},
		{"6.12-amd64", 6, 12, true},
	} {
		if got := mustRelease(t, c.release).AtLeast(c.major, c.minor); got != c.want {
			t.Errorf("%s at least %d.%d: %v", c.release, c.major, c.minor, got)
		}
	}
}

func TestOlderThanTriedIsRefused(t *testing.T) {
	t.Parallel()
	err := checkLine(mustRelease(t, "4.7.3-coreos-r2"), "5.10")
	want := "detect: kernel 4.7.3-coreos-r2 is older than 5.10, the oldest kernel line that modules were built for and loaded into: what a build needs of an older tree is not known. " +
		"Use a host whose kernel is 5.10 or later."
	if err == nil || err.Error() != want || stage.ExitCode(err) != 10 {
		t.Errorf("got %v (exit code %d), want %s", err, stage.ExitCode(err), want)
	}
	for _, full := range []string{"4.9.9-coreos-r1", "4.19.78-coreos", "5.10.1-flatcar"} {
		if err := checkLine(mustRelease(t, full), OldestTried); err != nil {
			t.Error(err)
		}
	}
}

func mustRelease(t *testing.T, s string) Release {
	t.Helper()
	r, err := ParseRelease(s)
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// wantError asserts a *stage.Error of the detect stage whose text is want.
func wantError(t *testing.T, err error, want string) {
	t.Helper()
	var e *stage.Error
	if !errors.As(err, &e) {
		t.Fatalf("not a stage's error: %v", err)
	}
	if stage.ExitCode(err) != 10 {
		t.Errorf("exit code %d, want 10", stage.ExitCode(err))
	}
	if diff := cmp.Diff(want, err.Error()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}
