package source

import (
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"io"
	"io/fs"
	"net/url"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/transport"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// place is what Options.From turned out to be.
type place int

const (
	anyPlace     place = iota // no other was asked for
	gitPlace                  // a git repository, on a server or in a folder
	tarballPlace              // an archive of a tree, by path or URL
	treePlace                 // a tree, in a folder
)

var archive = regexp.MustCompile(`\.(tar|tar\.(gz|xz|bz2|zst)|tgz|txz)$`)

// setFrom finds out what Options.From names. A folder with git's objects is a
// repository, also where it has a working tree: what is checked out of it is
// clean, and is the version that is needed.
func (l *ladder) setFrom() error {
	if path, ok := strings.CutPrefix(l.From, "file://"); ok {
		l.From = path
	}
	switch u, err := url.Parse(l.From); {
	case l.From == "":
		return nil
	case err != nil && isURL(l.From):
		// Not shown: what does not parse is often a password.
		return usage("the URL of the kernel source is not one; a user or password in it has to be percent-encoded")
	case l.CloneURL != "":
		return usage("the kernel source can come from one place: --source or --clone-url")
	case err == nil && (u.Scheme == "http" || u.Scheme == "https") && archive.MatchString(u.Path):
		if u.User != nil {
			// It would be in the log and in the record.
			return usage("a tarball's URL may hold no password")
		}
		if l.SHA256 == "" {
			return usage("a tarball from a server is not used unseen: give its digest with --source-sha256")
		}
		l.place = tarballPlace
	case err == nil && u.Host != "" || strings.Contains(l.From, "@"):
		l.place, l.CloneURL = gitPlace, l.From
		return nil
	default:
		if err := l.setFolder(); err != nil {
			return err
		}
	}
	if l.place == gitPlace {
		return nil
	}
	l.repository, l.clone = "", l.From
	if isURL(l.clone) {
		// Its query may be a signature, and another one each time.
		l.clone = download.Shown(l.clone)
	}
	l.refs = []string{filepath.Base(l.clone)}
	return nil
}

func (l *ladder) setFolder() error {
	from, err := beneath.Resolve(l.From)
	var info fs.FileInfo
	if err == nil {
		info, err = beneath.Lstat(from)
	}
	if err != nil {
		return stage.Wrap(stage.Source, err, "the kernel source cannot be read", "check --source: in a container the path is the one inside it")
	}
	l.From = from
	if !info.IsDir() {
		l.place = tarballPlace
		return nil
	}
	for _, objects := range []string{"objects", ".git/objects"} {
		if _, err := beneath.Lstat(filepath.Join(l.From, objects)); err == nil {
			l.place, l.CloneURL = gitPlace, l.From
			return nil
		}
	}
	l.place = treePlace
	return nil
}

// isURL says whether a place is named by a URL, of whatever scheme, and not by a
// path or in scp's notation.
func isURL(place string) bool { return strings.Contains(place, "://") }

// here says whether the source is on this machine, and the network not asked.
func (l *ladder) here() bool {
	if l.place == tarballPlace {
		return !isURL(l.clone)
	}
	server, err := transport.NewEndpoint(l.clone)
	return err == nil && server.Protocol == "file" && l.api == nil
}

// localTree is the tree in the folder that the user named, as it is.
func (l *ladder) localTree() (Tree, error) {
	v, err := readVersion(l.From)
	if err != nil {
		return Tree{}, stage.Wrap(stage.Source, err, l.From+" is not a kernel's source", "name the folder that holds its top Makefile")
	}
	if !v.builds(l.release) {
		return Tree{}, stage.New(stage.Source, fmt.Sprintf("%s is the source of %s, not of kernel %s", l.From, v, l.release.Full),
			"name the folder of that kernel's source with --source")
	}
	digest, err := l.digestTree(l.From)
	if err != nil {
		return Tree{}, stage.Wrap(stage.Source, err, "the kernel source cannot be read", "let the container's root read all of the folder that --source names")
	}
	return Tree{Dir: l.From, Rung: RungLocal, Ref: filepath.Base(l.From), Commit: digest, Version: v.String(), Reused: true}, nil
}

// Repository is "owner/name" of the repository that the source of a target's kernel
// is looked for in; "" where Options.From names something else.
func Repository(t kernel.Target, o Options) string {
	if o.From != "" {
		return ""
	}
	return cmp.Or(o.Repository, repositoryOf(t))
}

// Fingerprint is a digest of what Options.From holds, where that is a tree or a
// tarball on this machine, which may be another at the next run; for anything
// else it is what was asked for, without the credentials that it was asked for
// with, which may be others then. It is empty where nothing was.
func Fingerprint(t kernel.Target, o Options) (string, error) {
	l, err := newLadder(t, o)
	if err != nil {
		return "", err
	}
	digest := l.From
	switch {
	case l.place == treePlace:
		digest, err = l.digestTree(l.From)
	case l.place == tarballPlace && l.SHA256 != "":
		digest = l.SHA256 // nothing else is used
	case l.place == tarballPlace:
		digest, err = digestFile(l.From)
	case l.place == gitPlace:
		digest = l.clone
	}
	return digest, stage.Wrap(stage.Source, err, "the kernel source cannot be read", "check --source")
}

func digestFile(name string) (string, error) {
	f, err := beneath.Open(name)
	if err != nil {
		return "", err
	}
	defer f.Close()
	sum := sha256.New()
	_, err = io.Copy(sum, f)
	return hex.EncodeToString(sum.Sum(nil)), err
}

// digestTree is a digest of what a build needs of a tree: names, modes and
// contents. It stands for the commit that such a tree has none of.
func (l *ladder) digestTree(dir string) (string, error) {
	sum := sha256.New()
	err := beneath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil || !l.needs.Match(filepath.ToSlash(name)) || !d.Type().IsRegular() {
			return err
		}
		f, err := beneath.Open(path)
		if err != nil {
			return err
		}
		defer f.Close()
		info, err := f.Stat()
		if err != nil {
			return err
		}
		fmt.Fprintf(sum, "%s %v %d\n", filepath.ToSlash(name), info.Mode()&0o100 != 0, info.Size())
		_, err = io.Copy(sum, f)
		return err
	})
	return hex.EncodeToString(sum.Sum(nil)), err
}
