package modules

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/k8sp/cuda/internal/ko"
)

func TestLoadOrder(t *testing.T) {
	mods := driver(t)
	const want = "nvidia, nvidia_modeset, nvidia_drm, nvidia_uvm"
	for range 20 {
		rand.Shuffle(len(mods), func(i, j int) { mods[i], mods[j] = mods[j], mods[i] })
		given := names(mods)
		order, err := LoadOrder(mods)
		if err != nil {
			t.Fatal(err)
		}
		if got := names(order); got != want {
			t.Errorf("order of %s is %s, want %s", given, got, want)
		}
		if names(mods) != given {
			t.Error("the caller's slice was changed")
		}
	}
}

// user is a module that exports one symbol and needs another.
func user(name, exports, imports string) Module {
	return Module{Name: name, ELF: ko.File{Exports: []ko.Export{{Name: exports}}, Imports: []ko.Import{{Name: imports}}}}
}

func TestLoadOrderRefuses(t *testing.T) {
	for name, c := range map[string]struct {
		mods []Module
		want string
	}{
		"a cycle by depends": {[]Module{{Name: "a", Depends: []string{"b"}}, {Name: "b", Depends: []string{"a"}}, {Name: "c"}}, "need each other cannot be loaded: a, b"},
		"a cycle by symbols": {[]Module{user("a", "f", "g"), user("b", "g", "f")}, "a, b"},
		"itself":             {[]Module{{Name: "a", Depends: []string{"a"}}}, "cannot be loaded: a"},
		"one name twice":     {[]Module{{Name: "a"}, {Name: "a"}}, "two modules are named a"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := LoadOrder(c.mods)
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}
