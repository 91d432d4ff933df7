package live

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"
)

// answers is a kernel that only has a log.
type answers struct {
	Running
	hidden error
	log    string
}

func (a answers) Log() (string, error) { return a.log, a.hidden }

func TestLog(t *testing.T) {
	for _, tt := range []struct {
		name, before, after string
		want                []string
	}{
		{"nothing new", "<6>[    1.000000] a\n", "<6>[    1.000000] a\n", nil},
		{"two lines", "<6>[    1.000000] a\n", "<6>[    1.000000] a\n<4>[    2.000000] b [x] c\n<4>calling  f+0x0/0x1 [m] @ 1\nplain\n", []string{"b [x] c", "plain"}},
		{"the first lines ever", "", "<6>[    1.000000] a\n", []string{"a"}},
		{"what was there is overwritten", "<6>[    1.000000] a\n", "<6>[    9.000000] b\n", []string{"b"}},
	} {
		m := MarkLog(answers{log: tt.before})
		m.kernel = answers{log: tt.after}
		got, err := m.Since()
		if diff := cmp.Diff(tt.want, got); diff != "" || err != nil {
			t.Errorf("%s: %v (-want +got):\n%s", tt.name, err, diff)
		}
	}
	if _, err := MarkLog(answers{hidden: unix.EPERM}).Since(); !errors.Is(err, unix.EPERM) {
		t.Errorf("a hidden log: %v", err)
	}
}
