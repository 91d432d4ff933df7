package cuda

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/stage"
)

func TestLeave(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		only, exclude []string
		want          []string
	}{
		{"all", nil, nil, nil},
		{"for computing", []string{"nvidia", "nvidia-uvm"}, nil, []string{"nvidia-drm", "nvidia-modeset", "nvidia-peermem"}},
		{"what is needed comes along", []string{"nvidia-drm"}, nil, []string{"nvidia-peermem", "nvidia-uvm"}},
		{"as lsmod spells it, and twice", []string{"nvidia_uvm", "nvidia-uvm"}, nil, []string{"nvidia-drm", "nvidia-modeset", "nvidia-peermem"}},
		{"nvidia alone", []string{"nvidia"}, nil, []string{"nvidia-drm", "nvidia-modeset", "nvidia-peermem", "nvidia-uvm"}},
		{"excluded", nil, []string{"nvidia-peermem", "nvidia_drm", "nvidia-peermem"}, []string{"nvidia-drm", "nvidia-peermem"}},
		{"excluded with what needs it", nil, []string{"nvidia-modeset", "nvidia-drm"}, []string{"nvidia-drm", "nvidia-modeset"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			got, err := Leave(tt.only, tt.exclude)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(tt.want, got); diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLeaveRefuses(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name          string
		only, exclude []string
		want          string
	}{
		{"an unknown name", []string{"nvidia", "uvm"}, nil, `"uvm" is not a module of NVIDIA's driver. Name one of nvidia, nvidia-drm`},
		{"an unknown name to exclude", nil, []string{"nouveau"}, `"nouveau" is not a module of NVIDIA's driver`},
		{"both", []string{"nvidia"}, []string{"nvidia-drm"}, "said twice"},
		{"one that another needs", nil, []string{"nvidia-modeset"}, "nvidia-modeset cannot be left out without nvidia-drm, which needs it"},
		{"the one that all need", nil, []string{"nvidia"}, "nvidia cannot be left out, since all others need it"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			left, err := Leave(tt.only, tt.exclude)
			if stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v and %v, want exit code 2 and %q", err, left, tt.want)
			}
		})
	}
}

// A module that was built and not asked for is not among the result's.
func TestBuildDropsWhatNoInstallerLeavesOut(t *testing.T) {
	t.Parallel()
	r := &fakeInstaller{options: "535.216.01", modules: []string{"nvidia", "nvidia-modeset"}}
	o := buildOptions(t, r)
	o.Exclude = []string{"nvidia-drm", "nvidia-modeset", "nvidia-peermem", "nvidia-uvm"}
	b, err := Build(t.Context(), driver("535.261.03", Proprietary), o)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{b.Dir + "/nvidia.ko"}, b.Files); diff != "" {
		t.Errorf("files (-want +got):\n%s", diff)
	}
	if left, err := findModules(b.Dir); err != nil || len(left) != 1 {
		t.Errorf("left %v, %v", left, err)
	}
	args := strings.Join(r.calls[1].Args, " ")
	for _, want := range []string{"--no-drm", "--no-peermem", "--no-unified-memory"} {
		if !strings.Contains(args, want) {
			t.Errorf("the installer was not told %s: %s", want, args)
		}
	}
}
