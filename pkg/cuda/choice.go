package cuda

import (
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/stage"
)

// needs are NVIDIA's modules, each with those that it uses symbols of.
var needs = map[string][]string{
	"nvidia":         nil,
	"nvidia-uvm":     {"nvidia"},
	"nvidia-modeset": {"nvidia"},
	"nvidia-drm":     {"nvidia-modeset"},
	"nvidia-peermem": {"nvidia"},
}

// Leave turns what a user wants of the modules into those to leave out, sorted:
// all that neither are in only nor are needed by one that is, or those in
// exclude. With neither none is left out. Names may be spelt as lsmod does, with
// underscores. Its error is of the usage stage: an unknown name, both lists at
// once, or a module without one that it needs.
func Leave(only, exclude []string) ([]string, error) {
	known := strings.Join(slices.Sorted(maps.Keys(needs)), ", ")
	for _, name := range slices.Concat(only, exclude) {
		if _, ok := needs[packaged(name)]; !ok {
			return nil, stage.New(stage.Usage, fmt.Sprintf("%q is not a module of NVIDIA's driver", name), "name one of "+known)
		}
	}
	if len(only) > 0 && len(exclude) > 0 {
		return nil, stage.New(stage.Usage, "which modules to build is said twice, by --modules and by --exclude-modules", "leave out one of the two")
	}
	keep := map[string]bool{}
	var want func(names []string)
	want = func(names []string) {
		for _, name := range names {
			keep[packaged(name)] = true
			want(needs[packaged(name)])
		}
	}
	if want(only); len(only) == 0 {
		want(slices.Collect(maps.Keys(needs)))
	}
	for _, name := range exclude {
		delete(keep, packaged(name))
	}
	if !keep["nvidia"] {
		return nil, stage.New(stage.Usage, "nvidia cannot be left out, since all others need it", "leave out others only")
	}
	var left []string
	for _, name := range slices.Sorted(maps.Keys(needs)) {
		if !keep[name] {
			left = append(left, name)
			continue
		}
		for _, needed := range needs[name] {
			if !keep[needed] {
				return nil, stage.New(stage.Usage, fmt.Sprintf("%s cannot be left out without %s, which needs it", needed, name),
					"leave out both, or name those to build with --modules")
			}
		}
	}
	return left, nil
}

// packaged is a module's name as the driver's package spells it.
func packaged(name string) string { return strings.ReplaceAll(name, "_", "-") }

// drop removes those modules that no installer can be told to leave out, and
// returns the files of the others.
func drop(files, exclude []string) ([]string, error) {
	var kept []string
	for _, path := range files {
		if !slices.Contains(exclude, packaged(strings.TrimSuffix(filepath.Base(path), ".ko"))) {
			kept = append(kept, path)
			continue
		}
		if err := beneath.Remove(path); err != nil {
			return nil, err
		}
	}
	return kept, nil
}
