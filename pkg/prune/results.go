package prune

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// loadedHere is why a driver stays that was selected.
const loadedHere = "is of the driver that is loaded here, or may be: unload it first"

// listSelected lists the modules that are selected, and before them the user-space side of
// each driver of which no modules are left then: whoever is interrupted selects the same
// again. That there are none is an error: a name was mistyped, or they are gone already.
func (p *pruning) listSelected(context.Context) error {
	if p.selected == (modules.Driver{}) {
		return nil
	}
	for _, part := range []string{p.selected.Release, p.selected.Version} {
		if part != "" && !modules.IsName(part) { // a path would lead elsewhere
			return stage.New(stage.Usage, fmt.Sprintf("%q is neither a kernel's release nor a driver's version", part),
				"name others with --release and --driver-version: ls shows what there is")
		}
	}
	chosen, err := p.choose()
	if err != nil {
		return err
	}
	before := len(p.result.Kept)
	for _, version := range p.unused(chosen) {
		if err := p.addPublished(p.share.Driver(version), "the user-space side of driver "+version, p.isLoaded("", version)); err != nil {
			return err
		}
	}
	for _, d := range chosen {
		what := fmt.Sprintf("the modules of driver %s for kernel %s", d.Version, d.Release)
		if err := p.addPublished(p.share.Result(d.Release, d.Version), what, p.isLoaded(d.Release, d.Version)); err != nil {
			return err
		}
	}
	if len(p.result.Items) == 0 && len(p.result.Kept) == before {
		return stage.New(stage.Usage, fmt.Sprintf("%s has no such modules, so there are none to remove", p.share.Modules()),
			"name others with --release and --driver-version: ls shows what there is")
	}
	return nil
}

// isLoaded says whether a driver for a kernel is, or may be, the one that is loaded; without a
// release, for whatever kernel.
func (p *pruning) isLoaded(release, version string) bool {
	return p.loaded != nil && p.loaded.Selects(modules.Driver{Release: cmp.Or(release, p.loaded.Release), Version: version})
}

// choose finds the modules that are selected, and notes of which drivers and for which kernels
// there are others, which stay.
func (p *pruning) choose() (chosen []modules.Driver, err error) {
	p.used, p.served = map[string]bool{}, map[string]bool{}
	all, err := modules.Drivers(p.share)
	for _, d := range all {
		selected := p.selected.Selects(d)
		if selected {
			chosen = append(chosen, d)
		}
		if !selected || p.isLoaded(d.Release, d.Version) {
			p.used[d.Version], p.served[d.Release] = true, true
		}
	}
	return chosen, err
}

// unused are the drivers of which nothing is left without what is chosen, sorted.
func (p *pruning) unused(chosen []modules.Driver) (versions []string) {
	if p.selected.Release == "" {
		versions = append(versions, p.selected.Version) // its modules may be gone already
	}
	for _, d := range chosen {
		versions = append(versions, d.Version)
	}
	slices.Sort(versions)
	return slices.DeleteFunc(slices.Compact(versions), func(version string) bool { return p.used[version] })
}

// addPublished lists what a published link leads to, with the link, or that it stays as it
// is of the driver that is loaded.
func (p *pruning) addPublished(link, what string, loaded bool) error {
	content, err := publish.Led(link)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil // no user-space side was laid out
	case err != nil:
		return p.keep(link, "is not a link of builder's")
	case loaded:
		return p.keep(link, loadedHere)
	case content == link && !hasManifest(link):
		return p.keep(link, stranger)
	}
	if err := p.add(link, what); err != nil || content == link {
		return err
	}
	bytes, err := p.usage.Add(content)
	item := &p.result.Items[len(p.result.Items)-1]
	item.Bytes += bytes
	item.content = content
	p.result.Bytes += bytes
	return err
}

// hasManifest says whether a folder is a result of an earlier builder's, which published
// folders, and none of somebody's own.
func hasManifest(dir string) bool {
	info, err := beneath.Lstat(filepath.Join(dir, modules.ManifestFile)) // userspace.ManifestFile, too
	return err == nil && info.Mode().IsRegular()
}

// removeEmpty removes the folders of releases that have nothing in them: results were
// removed from there.
func (p *pruning) removeEmpty() error {
	if p.selected == (modules.Driver{}) {
		return nil // nothing was removed there
	}
	entries, err := beneath.ReadDir(p.share.Modules())
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	for _, e := range entries {
		if !e.IsDir() {
			continue
		}
		dir := filepath.Join(p.share.Modules(), e.Name())
		if left, listErr := beneath.ReadDir(dir); listErr != nil || len(left) > 0 {
			err = errors.Join(err, listErr)
			continue
		}
		err = errors.Join(err, beneath.Remove(dir))
	}
	return err
}
