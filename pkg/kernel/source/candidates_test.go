package source

import (
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel"
)

func TestCandidates(t *testing.T) {
	t.Parallel()
	for release, want := range map[string]string{
		"4.7.3-coreos-r2":   "tag v4.7.3-coreos-r2, tag v4.7.3-coreos, branch coreos/v4.7.3, tag v4.7.3",
		"4.7.3-coreos":      "tag v4.7.3-coreos, branch coreos/v4.7.3, tag v4.7.3",
		"6.1.176-coreos-r1": "tag v6.1.176-coreos-r1, tag v6.1.176-coreos, branch coreos/v6.1.176, tag v6.1.176",
		"4.9.0-coreos-r1": "tag v4.9.0-coreos-r1, tag v4.9.0-coreos, branch coreos/v4.9.0, " +
			"tag v4.9-coreos-r1, tag v4.9-coreos, branch coreos/v4.9, tag v4.9",
		"3.17.2+":          "tag v3.17.2+, branch coreos/v3.17.2, tag v3.17.2",
		"4.0.5":            "tag v4.0.5",
		"4.9.0-custom":     "tag v4.9.0-custom, tag v4.9-custom, tag v4.9",
		"6.12.103-flatcar": "tag v6.12.103",
		"6.12.0-flatcar":   "tag v6.12",
		"6.12.0":           "tag v6.12",
		"5.10.0-rc3":       "tag v5.10.0-rc3, tag v5.10-rc3",
		"5.10.0~rc3":       "tag v5.10-rc3",
		"6.1.0-49-amd64":   "tag v6.1.0-49-amd64, tag v6.1-49-amd64, tag v6.1",
	} {
		t.Run(release, func(t *testing.T) {
			if diff := cmp.Diff(want, names(Candidates(parse(t, release)))); diff != "" {
				t.Errorf("Candidates (-want +got):\n%s", diff)
			}
		})
	}
}

func TestRepositoryOf(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ release, distribution, want string }{
		{"4.7.3-coreos-r2", "coreos", "coreos/linux"},
		{"4.7.3-coreos-r2", "", "coreos/linux"},
		{"4.19.25-coreos", "flatcar", "coreos/linux"},
		{"3.17.2+", "coreos", "coreos/linux"},
		{"6.12.103-flatcar", "flatcar", "gregkh/linux"},
		{"6.12.103", "", "gregkh/linux"},
		{"6.1.0-49-amd64", "debian", "gregkh/linux"},
	} {
		target := kernel.Target{Release: parse(t, test.release), Distribution: kernel.Distribution{ID: test.distribution}}
		if got := repositoryOf(target); got != test.want {
			t.Errorf("repositoryOf(%s on %q) = %s, want %s", test.release, test.distribution, got, test.want)
		}
	}
}

func parse(t *testing.T, release string) kernel.Release {
	t.Helper()
	r, err := kernel.ParseRelease(release)
	if err != nil {
		t.Fatal(err)
	}
	return r
}
