package userspace

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

// Contents are the files and links that a manifest lists, each by its name in the root.
func Contents(manifest []byte) ([]publish.File, error) {
	m, err := ParseManifest(bytes.NewReader(manifest))
	if err != nil {
		return nil, err
	}
	return m.published()
}

// Adopt publishes a root that was published elsewhere for a driver version and lies in
// dir, in the share's file system, as it is. What is in dir is given away; the share's lock
// is held. Where trust is not nil, nothing of it is looked at that nobody trusted has
// signed. Errors are of the publish stage.
func Adopt(ctx context.Context, s *share.Share, scratch, dir, version string, trust publish.Trust) error {
	return publish.Explain(ctx, s, adopt(ctx, s, scratch, dir, version, trust), "the driver's user-space side could not be left in the share, where earlier results are as they were",
		"look at the cause, and run again")
}

func adopt(ctx context.Context, s *share.Share, scratch, dir, version string, trust publish.Trust) error {
	text, err := publish.ReadIndex(dir, ManifestFile, maxManifest, trust)
	if err != nil {
		return err
	}
	m, err := ParseManifest(bytes.NewReader(text))
	if err != nil {
		return err
	}
	if m.Version != version {
		return stage.New(stage.Publish, fmt.Sprintf("these are the files of %s, not of %s", m.Version, version), "have what was pushed by another name pushed again")
	}
	link, err := location(s, version)
	if err != nil {
		return err
	}
	files, err := m.published()
	if err != nil {
		return err
	}
	return publish.Folder{Share: s, Scratch: scratch, Link: link, Index: ManifestFile, Text: text}.Adopt(ctx, dir, files)
}
