package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/stage"
)

// TestError has findings in the order of the table, each hint once.
func TestError(t *testing.T) {
	if err := refuse(nil, nil); err != nil {
		t.Errorf("%v", err)
	}
	var one *stage.Error
	if err := refuse([]Finding{NoDevice.Of()}, nil); !errors.As(err, &one) || one.Sentence() != NoDevice.Says || one.Hint != NoDevice.Do {
		t.Errorf("%+v", one)
	}
	err := refuse([]Finding{NoMknod.Of("/dev"), HeldDevice.Of("a", "nouveau"), NoDevice.Of(), HeldDevice.Of("b", "nouveau")}, errors.New("cause"))
	var e *stage.Error
	if !errors.As(err, &e) || e.Kind != "no-device" || stage.ExitCode(err) != 17 {
		t.Fatalf("%+v", e)
	}
	if !strings.HasPrefix(e.Sentence(), "4 things stand in the way: (1) "+NoDevice.Says+"; (2) the GPU a is held") || !strings.HasSuffix(e.Sentence(), ": cause") {
		t.Errorf("%s", e.Sentence())
	}
	if want := strings.Join([]string{NoDevice.Do, HeldDevice.Do, NoMknod.Do}, "; "); e.Hint != want {
		t.Errorf("%q, want %q", e.Hint, want)
	}
	names := map[string]bool{}
	for _, r := range Refusals() {
		if names[r.Name] || r.Name == "" || r.Says == "" || r.Do == "" {
			t.Errorf("%+v", r)
		}
		names[r.Name] = true
	}
}
