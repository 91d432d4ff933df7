package node

import (
	"debug/elf"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/live"
)

// TestOtherBuild has what is loaded be told from what is published by the
// identifier of the build where both have one, and else by the sources.
func TestOtherBuild(t *testing.T) {
	t.Parallel()
	const recorded = "../modules/testdata/ko"
	nvidia, err := modules.Read(filepath.Join(recorded, "nvidia.ko"))
	if err != nil || nvidia.SrcVersion == "" {
		t.Fatalf("%+v, %v", nvidia, err)
	}
	built := t.TempDir()
	file := imagetest.ELF(elf.ET_REL, elf.EM_X86_64, []imagetest.Section{{}, {Name: ".note.gnu.build-id", Data: imagetest.Notes("\x0a\x0b")}})
	if err := os.WriteFile(filepath.Join(built, "nvidia.ko"), file, 0o600); err != nil {
		t.Fatal(err)
	}
	for _, tt := range []struct {
		name   string
		dir    string // with the published file
		loaded []live.Module
		want   bool
	}{
		{"nothing is loaded", recorded, nil, false},
		{"the same build", built, []live.Module{{Name: "nvidia", BuildID: "0a0b", SrcVersion: "ANOTHER"}}, false},
		{"another build", built, []live.Module{{Name: "nvidia", BuildID: "0a0c"}}, true},
		{"a build that is not to be told from it", built, []live.Module{{Name: "nvidia"}}, false},
		{"the same sources", recorded, []live.Module{{Name: "nvidia", SrcVersion: nvidia.SrcVersion}}, false},
		{"the same sources, and one has an identifier", recorded, []live.Module{{Name: "nvidia", BuildID: "0a0b", SrcVersion: nvidia.SrcVersion}}, false},
		{"other sources", recorded, []live.Module{{Name: "nvidia", SrcVersion: "ANOTHER"}}, true},
		{"sources that are not known", recorded, []live.Module{{Name: "nvidia"}}, false},
		{"other sources of the second", recorded, []live.Module{{Name: "nvidia", SrcVersion: nvidia.SrcVersion}, {Name: "nvidia_uvm", SrcVersion: "ANOTHER"}}, true},
		{"no file", t.TempDir(), []live.Module{{Name: "nvidia", BuildID: "0a0b", SrcVersion: "ANOTHER"}}, false},
	} {
		l := &loader{
			found: modules.Found{Dir: tt.dir}, state: live.State{Loaded: map[string]live.Module{}},
			wanted: []modules.Entry{{Name: "nvidia", File: "nvidia.ko"}, {Name: "nvidia_uvm", File: "nvidia.ko"}},
		}
		for _, m := range tt.loaded {
			l.state.Loaded[m.Name] = m
		}
		if got := l.otherBuild(); got != tt.want {
			t.Errorf("%s: %t, want %t", tt.name, got, tt.want)
		}
	}
}

// TestChooseByWish has what was asked of `build` ask the same of `load`: one variable
// says it to both.
func TestChooseByWish(t *testing.T) {
	t.Parallel()
	for wish, want := range map[string]string{"535": "", "lts": "", testDriver: "", "": "damaged", "latest": "damaged", "595": "damaged", "production": "damaged", "470": "no-version"} {
		m := newMachine(t)
		write(t, filepath.Join(m.share, "modules", testRelease, "595.1.0", "README"), "") // the newest
		ask := func(o *LoadOptions) { o.DriverVersion = wish }
		if want == "" {
			if got := m.load(t, ask); got.Driver != testDriver || got.State != Loaded {
				t.Errorf("%q: %+v", wish, got)
			}
			if got := m.load(t, ask); got.Driver != testDriver || got.State != AlreadyLoaded {
				t.Errorf("%q, again: %+v", wish, got)
			}
			continue
		}
		if names, said := m.loadRefused(t, ask); !slices.Equal(names, []string{want}) || want == "no-version" && !strings.Contains(said, "470") {
			t.Errorf("%q: %q\n%s", wish, names, said)
		}
	}
}

// TestChoosePeermem has nvidia-peermem loaded where InfiniBand's modules are, or somebody
// asks for it; nobody who has not can be refused for it.
func TestChoosePeermem(t *testing.T) {
	t.Parallel()
	entries := []modules.Entry{{Name: "nvidia"}, {Name: "nvidia_uvm", Siblings: []string{"nvidia"}}, {Name: peermem, Siblings: []string{"nvidia"}}}
	for _, tt := range []struct {
		loaded, asked []string
		want          []string
		mayLack       bool
	}{
		{nil, nil, []string{"nvidia", "nvidia_uvm"}, true},
		{[]string{"mlx5_core"}, nil, []string{"nvidia", "nvidia_uvm"}, true},
		{[]string{"mlx5_core", "ib_core"}, nil, []string{"nvidia", "nvidia_uvm", peermem}, true},
		{nil, []string{"nvidia-peermem"}, []string{"nvidia", peermem}, false},
	} {
		host, err := kernel.OpenRoot(t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		l := &loader{found: modules.Found{Manifest: modules.Manifest{Modules: entries}}, state: live.Read(host)}
		l.Modules = tt.asked
		for _, name := range tt.loaded {
			l.state.Loaded[name] = live.Module{Name: name, Live: true}
		}
		got, err := l.chosen()
		if err != nil || !slices.Equal(names(got), tt.want) || l.mayLack(peermem) != tt.mayLack {
			t.Errorf("with %q, asked for %q: %q %v, may lack it: %t", tt.loaded, tt.asked, names(got), err, l.mayLack(peermem))
		}
	}
}
