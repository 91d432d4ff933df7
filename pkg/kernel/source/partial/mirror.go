package partial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"path/filepath"

	"github.com/go-git/go-billy/v5/osfs"
	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/cache"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
	"github.com/go-git/go-git/v5/plumbing/object"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/storage/filesystem"

	"github.com/k8sp/cuda/internal/beneath"
)

// mirror is a repository in a folder of this machine's, bare or with a working
// tree, that answers as a git server does: this machine need not have git. It
// knows the two requests that this package makes, and is only read.
type mirror struct{ stored *filesystem.Storage }

// openMirror returns the repository at a path.
func openMirror(path string) (transport.UploadPackSession, error) {
	for _, dir := range []string{filepath.Join(path, dot), path} {
		if _, err := beneath.Lstat(filepath.Join(dir, "objects")); err != nil {
			continue
		}
		return &mirror{filesystem.NewStorageWithOptions(osfs.New(dir, osfs.WithBoundOS()), cache.NewObjectLRU(16*cache.MiByte),
			filesystem.Options{KeepDescriptors: true, AlternatesFS: osfs.New("/")})}, nil
	}
	return nil, fmt.Errorf("%s: %w", path, transport.ErrRepositoryNotFound)
}

// AdvertisedReferences implements [transport.Session].
func (m *mirror) AdvertisedReferences() (*packp.AdvRefs, error) {
	answer := packp.NewAdvRefs()
	for _, c := range []capability.Capability{capability.Shallow, capability.Filter, capability.AllowReachableSHA1InWant} {
		if err := answer.Capabilities.Set(c); err != nil {
			return nil, err
		}
	}
	refs, err := m.stored.IterReferences()
	if err != nil {
		return nil, err
	}
	return answer, refs.ForEach(func(ref *plumbing.Reference) error {
		if ref.Type() == plumbing.HashReference {
			return answer.AddReference(ref)
		}
		return nil
	})
}

// AdvertisedReferencesContext implements [transport.Session].
func (m *mirror) AdvertisedReferencesContext(context.Context) (*packp.AdvRefs, error) {
	return m.AdvertisedReferences()
}

// UploadPack implements [transport.UploadPackSession].
func (m *mirror) UploadPack(ctx context.Context, wish *packp.UploadPackRequest) (*packp.UploadPackResponse, error) {
	wants := wish.Wants
	if wish.Filter != "" {
		wants = nil
		for _, want := range wish.Wants {
			reached, err := m.reach(want)
			if err != nil {
				return nil, err
			}
			wants = append(wants, reached...)
		}
	}
	for _, want := range wants {
		if err := m.stored.HasEncodedObject(want); err != nil {
			return nil, fmt.Errorf("not our ref %s: %w", want, err)
		}
	}
	r, w := io.Pipe()
	stop := context.AfterFunc(ctx, func() { w.CloseWithError(ctx.Err()) })
	go func() {
		defer stop()
		// No search for deltas: what is read here is used here.
		_, err := packfile.NewEncoder(w, m.stored, false).Encode(wants, 0)
		w.CloseWithError(err)
	}()
	return packp.NewUploadPackResponseWithPackfile(wish, r), nil
}

// Close implements [transport.Session].
func (m *mirror) Close() error { return m.stored.Close() }

// reach lists an object and those that a commit without its history has, but
// for the contents of files.
func (m *mirror) reach(hash plumbing.Hash) ([]plumbing.Hash, error) {
	var all []plumbing.Hash
	for range maxTags {
		all = append(all, hash)
		tag, err := object.GetTag(m.stored, hash)
		if errors.Is(err, plumbing.ErrObjectNotFound) {
			break
		}
		if err != nil {
			return nil, err
		}
		hash = tag.Target
	}
	commit, err := object.GetCommit(m.stored, hash)
	if err != nil {
		return nil, fmt.Errorf("not our ref %s: %w", hash, err)
	}
	seen := map[plumbing.Hash]bool{}
	return append(all, m.trees(commit.TreeHash, seen)...), nil
}

// trees lists a tree and those below it. One that cannot be read is listed,
// and missed by whoever reads the pack.
func (m *mirror) trees(hash plumbing.Hash, seen map[plumbing.Hash]bool) []plumbing.Hash {
	if seen[hash] {
		return nil
	}
	seen[hash] = true
	all := []plumbing.Hash{hash}
	tree, err := object.GetTree(m.stored, hash)
	if err != nil {
		return all
	}
	for _, e := range tree.Entries {
		if e.Mode == filemode.Dir {
			all = append(all, m.trees(e.Hash, seen)...)
		}
	}
	return all
}
