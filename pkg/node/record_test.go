package node

import (
	"os"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/share"
)

// TestRecordWithoutDuplicates has many containers of a boot do the same.
func TestRecordWithoutDuplicates(t *testing.T) {
	var r Record
	made := []devices.File{{Path: "nvidia0", Major: 195}, {Path: "nvidiactl", Major: 195, Minor: 255}}
	for range 3 {
		r.AddNodes("/dev", made)
		r.AddCDI(CDIFolder{Dir: "cdi"})
	}
	r.AddCDI(CDIFolder{Dir: "/etc/cdi", Mounted: true})
	r.AddNodes("/elsewhere", nil)
	want := Record{Dev: "/dev", Nodes: made, CDI: []CDIFolder{{Dir: "cdi"}, {Dir: "/etc/cdi", Mounted: true}}}
	if diff := cmp.Diff(want, r); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	r.DropNode("nvidia0")
	r.DropNode("nvidiactl")
	r.CDI = nil
	if !r.Empty() {
		t.Errorf("%+v is not empty", r)
	}
}

func TestRecord(t *testing.T) {
	s, err := share.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	const boot = "0e8ac4a1-6b0c-4b2e-9d43-0f6a4c1e7b55"
	want := Record{
		Driver: "1.2", Modules: []string{"nvidia"}, InTree: []string{"drm"}, Firmware: "/a", Before: "/b", Dev: "/dev", CDI: []CDIFolder{{Dir: "/etc/cdi", Mounted: true}},
		Nodes: []devices.File{{Path: "nvidia0", Major: 195, Mode: 0o666}},
	}
	if err := want.Write(t.Context(), s, boot); err != nil {
		t.Fatal(err)
	}
	got, err := ReadRecord(s, boot)
	if diff := cmp.Diff(want, got); diff != "" || err != nil {
		t.Errorf("%v (-want +got):\n%s", err, diff)
	}
	if got, err := ReadRecord(s, "1"+boot[1:]); err != nil || got.Driver != "" {
		t.Errorf("of another boot: %+v, %v", got, err)
	}
	if err := os.WriteFile(recordFile(s, boot), []byte("{"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := ReadRecord(s, boot); err == nil {
		t.Error("half a record was read")
	}
	for range 2 { // there, and not
		if err := (Record{Driver: "1.2"}).Write(t.Context(), s, boot); err != nil {
			t.Error(err)
		}
		if got, err := ReadRecord(s, boot); err != nil || got.Driver != "" {
			t.Errorf("of nothing to undo: %+v, %v", got, err)
		}
	}
}
