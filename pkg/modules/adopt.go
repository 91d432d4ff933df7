package modules

import (
	"bytes"
	"context"
	"fmt"

	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// MaxManifest bounds the text of a manifest, in bytes.
const MaxManifest = maxManifest

// Contents are the files that a manifest lists, each by its name in the folder.
func Contents(manifest []byte) ([]publish.File, error) {
	m, err := ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return nil, err
	}
	if err := m.checkNames(); err != nil {
		return nil, err
	}
	var list []publish.File
	for _, f := range m.files() {
		list = append(list, f.published())
	}
	return list, nil
}

// Adopt publishes modules that were published elsewhere for a release and driver version
// and lie in dir, in the share's file system, as they are. It does not judge them. What is
// in dir is given away; the share's lock is held. Where trust is not nil, nothing of it is
// looked at that nobody trusted has signed. It returns their manifest. Errors are of the
// publish stage.
func Adopt(ctx context.Context, s *share.Share, scratch, dir, release, version string, trust publish.Trust) (Manifest, error) {
	m, err := adopt(ctx, s, scratch, dir, release, version, trust)
	return m, publish.Explain(ctx, s, err, "the modules could not be left in the share, where earlier results are as they were",
		"look at the cause, and run again")
}

func adopt(ctx context.Context, s *share.Share, scratch, dir, release, version string, trust publish.Trust) (Manifest, error) {
	text, err := publish.ReadIndex(dir, ManifestFile, maxManifest, trust)
	if err != nil {
		return Manifest{}, err
	}
	m, err := ParseManifest(bytes.NewReader(text))
	if err != nil {
		return Manifest{}, err
	}
	if m.Target.Release != release || m.Driver.Version != version {
		return Manifest{}, stage.New(stage.Publish, fmt.Sprintf("these are modules of %s for %s, not of %s for %s", m.Driver.Version, m.Target.Release, version, release),
			"have what was pushed by another name pushed again")
	}
	link, err := location(s, release, version)
	if err != nil {
		return Manifest{}, err
	}
	files, err := Contents(text)
	if err != nil {
		return Manifest{}, err
	}
	return m, publish.Folder{Share: s, Scratch: scratch, Link: link, Index: ManifestFile, Text: text}.Adopt(ctx, dir, files)
}
