package live

import (
	"errors"
	"strings"
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

// TestNext follows a log, of which the beginning goes, and that is hidden for a while.
func TestNext(t *testing.T) {
	full := "<6>[2.5] " + strings.Repeat("x", markTail) + "\n"
	m := MarkLog(answers{hidden: unix.EPERM})
	for _, tt := range []struct {
		is    answers
		want  []string
		fails bool
	}{
		{answers{log: "<6>[1.0] a\n"}, nil, true}, // it could not be read where the mark was made
		{answers{log: "<6>[1.0] a\n<6>[2.0] b\n"}, []string{"b"}, false},
		{answers{log: "<6>[1.0] a\n<6>[2.0] b\n"}, nil, false},
		{answers{hidden: unix.EPERM}, nil, true},
		{answers{log: "<6>[1.0] a\n<6>[2.0] b\n" + full}, []string{strings.Repeat("x", markTail)}, false},
		{answers{log: full + "<6>[3.0] c\n"}, []string{"c"}, false},
		{answers{log: "<6>[9.0] d\n"}, []string{"d"}, false},
		{answers{log: ""}, nil, false},
		{answers{log: "<6>[10.0] e\n"}, []string{"e"}, false},
	} {
		m.kernel = tt.is
		got, err := m.Next()
		if diff := cmp.Diff(tt.want, got); diff != "" || (err != nil) != tt.fails {
			t.Errorf("%q: %v (-want +got):\n%s", tt.is.log, err, diff)
		}
	}
}
