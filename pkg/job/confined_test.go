package job

import (
	"bytes"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/confine"
	"github.com/k8sp/cuda/pkg/share"
)

// TestSayConfined: the log says, once and before anything is run, what is not held
// back.
func TestSayConfined(t *testing.T) {
	s, err := share.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for _, test := range []struct {
		name    string
		without []string
	}{
		{"all that there is", nil},
		{"Landlock alone", []string{confine.UserNamespace, confine.Namespaces}},
		{"neither", []string{confine.UserNamespace, confine.Namespaces, confine.Landlock}},
	} {
		t.Run(test.name, func(t *testing.T) {
			var log bytes.Buffer
			uid, gid := s.Owner()
			made := site{share: s, confined: confine.New(uid, gid, confine.Without(test.without...))}
			if err := made.sayConfined(zerolog.New(&log).WithContext(t.Context())); err != nil {
				t.Fatal(err)
			}
			report, err := made.confined.Report(t.Context(), s.Dir())
			if err != nil {
				t.Fatal(err)
			}
			if test.without != nil && report.Exposed() == "" {
				t.Errorf("it exposes nothing: %s", report)
			}
			lines := strings.Count(log.String(), "\n")
			warns := strings.Contains(log.String(), `"level":"warn"`) && strings.Contains(log.String(), report.Exposed())
			if want := report.Exposed() != ""; lines != 1 || warns != want {
				t.Errorf("it says %s", log.String())
			}
		})
	}
}
