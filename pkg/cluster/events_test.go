package cluster

import (
	"strings"
	"testing"
	"unicode/utf8"

	"k8s.io/apimachinery/pkg/util/validation"
)

// TestMessage is what was found and what to do, of what Kubernetes takes, without secrets.
func TestMessage(t *testing.T) {
	long := strings.Repeat("ä", 2000)
	for _, tt := range []struct{ says, do, want string }{
		{"the driver is in use", "stop what uses it", "the driver is in use. Stop what uses it."},
		{"a bug", "", "a bug"},
		{"https://me:s3cret@example.com/x and http://t0ken@h cannot be had", "look at git://a:b@c/d", "https://example.com/x and http://h cannot be had. Look at git://c/d."},
		{"x\xff", "", "x?"},
		{long, "do this", strings.Repeat("ä", 505) + "…. Do this."},
		{"x", long, "x. Ä" + strings.Repeat("ä", 196) + "…"},
		{long, long, strings.Repeat("ä", 311) + "…. Ä" + strings.Repeat("ä", 196) + "…"},
	} {
		got := Event{Says: tt.says, Do: tt.do}.message()
		if got != tt.want || len(got) > maxMessage || !utf8.ValidString(got) {
			t.Errorf("%.30q, %.30q: %d bytes, %q", tt.says, tt.do, len(got), got)
		}
	}
}

// TestEventNames are what names may be: of the same words the same, of others another.
func TestEventNames(t *testing.T) {
	pod := Pod{Namespace: "n", Name: "cuda-driver-x7k2p", UID: "1"}
	other, long := pod, pod
	other.UID = "2"
	long.Name = strings.Repeat("a.", 126)
	names := map[string]bool{}
	for _, n := range []string{
		(&Events{pod: pod}).name("a", "b"), (&Events{pod: pod}).name("ab", ""), (&Events{pod: pod}).name("a", "c"), (&Events{pod: other}).name("a", "b"), (&Events{pod: long}).name("a", "b"),
	} {
		if wrong := validation.IsDNS1123Subdomain(n); names[n] || len(wrong) > 0 {
			t.Errorf("%s: %v", n, wrong)
		}
		names[n] = true
	}
	if first := (&Events{pod: pod}).name("a", "b"); !names[first] {
		t.Errorf("%s is not the name that it was", first)
	}
}

// TestNewEvents wants to know whose they are.
func TestNewEvents(t *testing.T) {
	for _, pod := range []Pod{{}, {Name: "a", UID: "b"}, {Namespace: "n", UID: "b"}, {Namespace: "n", Name: "a"}} {
		if e, err := NewEvents(pod, nil); err == nil {
			t.Errorf("%+v", e)
		}
	}
}
