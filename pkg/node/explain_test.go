package node

import (
	"errors"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/live"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		log    []string
		hidden error
		want   Finding
	}{
		{"no GPU", unix.ENODEV, []string{"nvidia: loading out-of-tree module taints kernel.", "NVRM: No NVIDIA GPU found."}, nil, NoDevice.Of()},
		{"no GPU, and no log", unix.ENODEV, nil, unix.EPERM, NoDevice.Of()},
		{"a GPU of later drivers", unix.ENODEV, []string{
			"NVRM: The NVIDIA GPU 0000:65:00.0 (PCI ID: 10de:2bb5)", "NVRM: installed in this system is not supported by the", "NVRM: NVIDIA 535.261.03 driver release.",
		}, nil, NotServed.Of("10de:2bb5 at 0000:65:00.0", "the GPU installed in this system is not supported by the NVIDIA 535.261.03 driver release")},
		{"a GPU of earlier drivers", unix.ENODEV, []string{ // recorded, of 535.261.03
			"NVRM: The NVIDIA GeForce 9500 GT GPU installed in this system is", "NVRM:  supported through the NVIDIA 340.xx Legacy drivers. Please",
			"NVRM:  visit http://www.nvidia.com/object/unix.html for more", "NVRM:  information.  The 535.261.03 NVIDIA driver will ignore",
			"NVRM:  this GPU.  Continuing probe...", "NVRM: No NVIDIA GPU found.",
		}, nil, NotServed.Of("GeForce 9500 GT", "it runs with the legacy drivers 340.xx only")},
		{"an unsigned module", unix.EKEYREJECTED, []string{"Loading of unsigned module is rejected"}, nil,
			Unsigned.Of("as its log says", "Loading of unsigned module is rejected")},
		{"anything else", unix.ENOEXEC, []string{"nvidia: version magic 'a' should be 'b'"}, nil, Refused.Of("nvidia", "ENOEXEC (exec format error)")},
		{"no number", errors.New("no such thing"), nil, nil, Refused.Of("nvidia", "no such thing")},
	} {
		if diff := cmp.Diff(tt.want, explain(live.Main, tt.err, tt.log, tt.hidden)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}
