package modules

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/types"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// PublishOptions say what to publish and where.
type PublishOptions struct {
	// Share receives the modules as modules/REL/VER, REL and VER being the
	// manifest's release and driver version. Its lock is held.
	Share *share.Share
	// Scratch is a folder on the share's file system.
	Scratch string
	// Dir holds the modules and the indexes that the manifest names.
	Dir string
	// Firmware is where the firmware that it names is, by name. Those files
	// are given away: on the share's file system they become what is
	// published, as a second copy of 100 MB would be a waste.
	Firmware map[string]string
	// Exports are what is known of those of the kernel.
	Exports kernel.Exports
	// Types is what the modules were compiled with; nil where that is not known.
	Types *types.Record
	// Manifest is what to publish with; [Manifest.Exports] and [Manifest.Types] are
	// filled in.
	Manifest Manifest
	// Sign signs the manifest; nil leaves it unsigned.
	Sign publish.Sign

	// step is called before each change that others can see, for the test
	// that crashes there.
	step func(name string) error
}

// Publish makes the modules and their manifest visible, all at once, and
// returns the manifest's path. SHARE/modules/REL/VER is a link to a folder
// beside it that is named after its content ([publish.Folder]). Publishing
// what is there already changes nothing. Errors are of the publish stage.
func Publish(ctx context.Context, o PublishOptions) (string, error) {
	path, err := o.publish(ctx)
	return path, publish.Explain(ctx, o.Share, err, "the modules could not be left in the share, where earlier results are as they were",
		"look at the cause, and run again")
}

func (o PublishOptions) publish(ctx context.Context) (string, error) {
	temp, err := beneath.MkdirTemp(o.Scratch, "exports-")
	if err != nil {
		return "", err
	}
	defer beneath.RemoveAll(temp)
	exports, err := describeExports(temp, o.Exports)
	if err != nil {
		return "", err
	}
	o.Manifest.Exports = exports
	if o.Manifest.Types, err = describeTypes(temp, o.Types); err != nil {
		return "", err
	}
	text, err := o.Manifest.Encode()
	if err != nil {
		return "", err
	}
	link, err := location(o.Share, o.Manifest.Target.Release, o.Manifest.Driver.Version)
	if err != nil {
		return "", err
	}
	folder := publish.Folder{
		Share: o.Share, Scratch: o.Scratch, Link: link, Index: ManifestFile, Text: text, Sign: o.Sign, Step: o.step,
	}
	if err := o.Manifest.checkNames(); err != nil {
		return "", err
	}
	for _, f := range o.Manifest.files() {
		file := f.published()
		file.From = filepath.Join(o.Dir, f.Name)
		if f == exports || o.Manifest.Types != nil && f == *o.Manifest.Types {
			file.From = filepath.Join(temp, f.Name)
			file.Twins = []string{file.From} // made for this alone
		}
		if from, ok := o.Firmware[f.Name]; ok {
			file.From, file.Twins = from, append(o.twins(f.Name), from)
		}
		folder.Files = append(folder.Files, file)
	}
	if err := folder.Publish(ctx); err != nil {
		return "", err
	}
	return filepath.Join(link, ManifestFile), nil
}

// describeTypes writes the record into a folder, for the manifest; nil where there is
// none.
func describeTypes(dir string, record *types.Record) (*File, error) {
	if record == nil {
		return nil, nil
	}
	path := filepath.Join(dir, TypesFile)
	f, err := beneath.Create(path, 0o644)
	if err != nil {
		return nil, err
	}
	if err := errors.Join(record.Write(f), f.Close()); err != nil {
		return nil, err
	}
	file, err := describeFile(path)
	return &file, err
}

// Republish signs a result that [Find] found and publishes it so, in a folder of its
// own whose files are those of the other where the file system has hard links. Whoever
// calls it vouches for what is there, and holds the share's lock. Errors are of the
// publish stage.
func Republish(ctx context.Context, s *share.Share, scratch string, found Found, sign publish.Sign) error {
	return publish.Explain(ctx, s, found.republish(ctx, s, scratch, sign), "the modules could not be signed and left in the share, where earlier results are as they were",
		"look at the cause, and run again")
}

func (f Found) republish(ctx context.Context, s *share.Share, scratch string, sign publish.Sign) error {
	text, err := f.Manifest.Encode()
	if err != nil {
		return err
	}
	folder := publish.Folder{Share: s, Scratch: scratch, Link: f.Link, Index: ManifestFile, Text: text, Sign: sign}
	for _, file := range f.Manifest.files() {
		p := file.published()
		p.From = filepath.Join(f.Dir, filepath.FromSlash(file.Name))
		p.Twins = []string{p.From}
		folder.Files = append(folder.Files, p)
	}
	return folder.Publish(ctx)
}

// DescribeFirmware lists files for [Manifest.Firmware] and returns where each
// is, for [PublishOptions.Firmware]. They are given by the names that the
// kernel asks for, "MAKER/VERSION/NAME". The list is sorted.
func DescribeFirmware(files map[string]string) (list []File, from map[string]string, err error) {
	from = map[string]string{}
	for _, name := range slices.Sorted(maps.Keys(files)) {
		f, err := describeFile(files[name])
		if err != nil {
			return nil, nil, err
		}
		f.Name = path.Join(FirmwareDir, name)
		list, from[f.Name] = append(list, f), files[name]
	}
	return list, from, nil
}

// twins are a file of this driver as it was published for any release.
func (o PublishOptions) twins(name string) []string {
	releases, err := beneath.ReadDir(o.Share.Modules())
	if err != nil {
		return nil
	}
	var paths []string
	for _, r := range releases {
		if dir, err := publish.Led(o.Share.Result(r.Name(), o.Manifest.Driver.Version)); err == nil {
			paths = append(paths, filepath.Join(dir, filepath.FromSlash(name)))
		}
	}
	return paths
}

// component is what a release or driver version may be as a file's name.
var component = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.+~-]*$`)

// IsName says whether a release or a driver's version can be the name of a folder of published
// modules: a path is none.
func IsName(part string) bool { return component.MatchString(part) }

// location is the path of the link that publishes a driver for a release.
func location(s *share.Share, release, version string) (string, error) {
	for _, part := range []string{release, version} {
		if !IsName(part) {
			return "", stage.New(stage.Publish, fmt.Sprintf("%q cannot be the name of a folder, so the modules have no place", part),
				"report this as a bug, with the kernel's release and the driver's version")
		}
	}
	return s.Result(release, version), nil
}

// Vacant refuses a place where modules cannot be published, since something else is
// there than a link that builder made. Its error is of the publish stage.
func Vacant(s *share.Share, release, version string) error {
	link, err := location(s, release, version)
	if err != nil {
		return err
	}
	return publish.Linkable(link)
}

// Ready says, before the work, whether a result could be published: the place
// is [Vacant], and the share's file system has symbolic links.
func Ready(s *share.Share, scratch, release, version string) error {
	link, err := location(s, release, version)
	if err != nil {
		return err
	}
	return publish.Ready(s, scratch, link)
}
