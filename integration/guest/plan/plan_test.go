package plan_test

import (
	"bytes"
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/k8sp/cuda/integration/guest/plan"
)

// TestCut cuts the stream where a crash would.
func TestCut(t *testing.T) {
	want := []plan.Result{
		{Load: []plan.Loaded{{File: "/a.ko", Errno: 8, Error: "ENOEXEC", Log: []string{"a: version magic"}}}},
		{Ran: &plan.Ran{Exit: 3, Stdout: []byte{0, 255}}, Read: map[string][]byte{"/proc/version": []byte("Linux")}},
	}
	var stream bytes.Buffer
	w, err := plan.NewWriter(&stream)
	if err != nil {
		t.Fatal(err)
	}
	ends := []int{stream.Len()}
	for _, r := range want {
		if err := w.Write(r); err != nil {
			t.Fatal(err)
		}
		ends = append(ends, stream.Len())
	}
	for n, end := range ends {
		for _, cut := range []int{end, min(end+3, stream.Len())} {
			got, err := plan.ReadAll(bytes.NewReader(stream.Bytes()[:cut]))
			if err != nil {
				t.Errorf("%d bytes: %v", cut, err)
			}
			if diff := cmp.Diff(want[:n], got, cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("%d bytes (-want +got):\n%s", cut, diff)
			}
		}
	}
	if _, err := plan.ReadAll(bytes.NewReader(nil)); !errors.Is(err, plan.ErrNotStarted) {
		t.Errorf("an empty stream gives %v", err)
	}
}

func TestAccepted(t *testing.T) {
	for name, tt := range map[string]struct {
		answer plan.Loaded
		want   bool
	}{
		"loaded without an init": {plan.Loaded{}, true},
		"gave up itself": {plan.Loaded{Errno: 22, Error: "EINVAL", Log: []string{
			"nvidia: loading out-of-tree module taints kernel.",
			"calling  nv_init+0x0/0x1000 [nvidia_peermem] @ 1",
		}}, true},
		"refused": {plan.Loaded{Errno: 22, Error: "EINVAL", Log: []string{
			"nvidia_peermem: disagrees about version of symbol module_layout",
		}}, false},
	} {
		if got := tt.answer.Accepted(); got != tt.want {
			t.Errorf("%s: accepted is %t, want %t", name, got, tt.want)
		}
	}
}
