package source

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/filemode"
	"github.com/go-git/go-git/v5/plumbing/format/index"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/kernel/source/partial"
	"github.com/k8sp/cuda/pkg/stage"
)

// recordName is the file, inside the tree's .git, that says the tree is ours, and
// whether it is whole; see settle.
const recordName = ".git/builder.json"

// record is what a tree says of itself.
type record struct {
	Tree
	// URL is where it came from, without credentials.
	URL string `json:"url"`
	// Unsettled says that not all of the tree may be on the disk: what a power
	// cut has made of it is not somebody's work.
	Unsettled bool `json:"unsettled,omitempty"`
}

func writeRecord(dir string, r record) error {
	b, err := json.MarshalIndent(r, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(filepath.Join(dir, recordName), append(b, '\n'), 0o644)
}

// settle has a tree of ours that is whole, in scratch, be on the disk with the
// record that says so, and in an order that leaves no doubt whose it is: the
// record of an unsettled tree, the tree, the record of a settled one. Whoever
// moves the tree after that moves one that no power cut changes any more.
func settle(dir string, r record, flush func(dir string) error) error {
	for _, unsettled := range []bool{true, false} {
		r.Unsettled = unsettled
		if err := writeRecord(dir, r); err != nil {
			return err
		}
		if unsettled {
			if err := flush(dir); err != nil {
				return fmt.Errorf("flush %s: %w", dir, err)
			}
		}
	}
	return nil
}

// flushAll has all that was written to the file system of dir be on the disk. The
// thousands of files of a tree would take minutes one by one.
func flushAll(dir string) error {
	f, err := beneath.Open(dir)
	if err != nil {
		return err
	}
	defer f.Close()
	return unix.Syncfs(int(f.Fd()))
}

// errDamaged is for a record that makes no sense: builder alone writes one, and a
// crash has cut it short.
var errDamaged = errors.New("is damaged")

// readRecord returns an error for a tree that is not ours, or, with errDamaged,
// that was.
func readRecord(dir string) (record, error) {
	f, err := beneath.Open(filepath.Join(dir, recordName))
	if err != nil {
		return record{}, err
	}
	defer f.Close()
	var r record
	if err := json.NewDecoder(io.LimitReader(f, 1<<16)).Decode(&r); err != nil {
		return record{}, fmt.Errorf("%s %w: %w", recordName, errDamaged, err)
	}
	r.Dir = dir
	return r, nil
}

// reuse returns the tree that is already in place, or says why it does not
// serve. It looks at the size and time of every file, and at no network.
func (l *ladder) reuse() (Tree, string) {
	r, err := readRecord(l.dir)
	if errors.Is(err, fs.ErrNotExist) {
		return Tree{}, "no tree of an earlier run is there"
	}
	if err != nil {
		return Tree{}, err.Error()
	}
	if r.Unsettled {
		return Tree{}, "it was not on the disk yet when this machine stopped"
	}
	head, err := r.head()
	v, versionErr := readVersion(l.dir)
	switch {
	case err != nil:
		return Tree{}, "its git repository cannot be read: " + err.Error()
	case versionErr != nil:
		return Tree{}, versionErr.Error()
	case head != r.Commit:
		return Tree{}, fmt.Sprintf("it is at commit %.12s and not, as it was left, at %.12s", head, r.Commit)
	case r.Repository != l.repository:
		return Tree{}, fmt.Sprintf("it is of %s and not of %s", r.Repository, l.repository)
	case r.URL != l.clone:
		from := r.URL
		if download.IsURL(from) {
			from = download.Shown(from) // earlier versions recorded its query, too
		}
		return Tree{}, fmt.Sprintf("it came from %s and not from %s", from, l.clone)
	case !slices.Contains(l.refs, r.Ref):
		return Tree{}, fmt.Sprintf("it is %s, which is no ref for kernel %s", r.Ref, l.release.Full)
	case !v.builds(l.release):
		return Tree{}, fmt.Sprintf("its Makefile says %s, not the version of kernel %s", v, l.release.Full)
	case l.SHA256 != "" && l.SHA256 != r.Commit:
		return Tree{}, fmt.Sprintf("its SHA-256 is %s and not, as --source-sha256 asks for, %s", r.Commit, l.SHA256)
	case !slices.Equal(r.Patches, l.patchesOf()):
		return Tree{}, fmt.Sprintf("it has %s and not %s", saidPatches(r.Patches), saidPatches(l.patchesOf()))
	case l.Commit != "" && l.Commit != r.Commit:
		return Tree{}, fmt.Sprintf("it is commit %s and not, as --source-commit asks for, %s", r.Commit, l.Commit)
	}
	idx, err := partial.ReadIndex(l.dir)
	if err != nil {
		return Tree{}, "its index cannot be read: " + err.Error()
	}
	there, changed, err := compare(l.dir, idx)
	if lacks := l.firstLacking(idx, there); lacks != "" {
		return Tree{}, "it lacks " + lacks
	}
	if err != nil {
		return Tree{}, "it cannot be told from one with changes: " + err.Error()
	}
	if changed != "" {
		return Tree{}, "it holds changes (" + changed + ")"
	}
	r.Reused = true
	return r.Tree, ""
}

// saidPatches names patches for people.
func saidPatches(list []Patch) string {
	if len(list) == 0 {
		return "no patches"
	}
	var names []string
	for _, p := range list {
		names = append(names, fmt.Sprintf("%s (%.12s)", p.Name, p.SHA256))
	}
	return "the patches " + strings.Join(names, ", ")
}

// head is the commit that the tree is at, in hex.
func (r record) head() (string, error) {
	if r.Rung == RungTarball {
		return r.Commit, nil // there is no repository
	}
	head, err := partial.ReadHead(r.Dir)
	return head.String(), err
}

// firstLacking names a file that is needed and not there, because it was not
// checked out or is gone since, or is "". There are files that were seen already.
func (l *ladder) firstLacking(idx *index.Index, there map[string]bool) string {
	for _, e := range idx.Entries {
		if !l.wants(e.Name) || l.needs.Spare(e.Name) {
			continue
		}
		if e.SkipWorktree {
			return e.Name
		}
		if there[e.Name] {
			continue
		}
		if _, err := beneath.Lstat(filepath.Join(l.dir, filepath.FromSlash(e.Name))); errors.Is(err, fs.ErrNotExist) {
			return e.Name
		}
	}
	return ""
}

// checkVacant returns an error unless the place is free: nothing there, an
// empty folder, or a tree of ours that nobody has worked in.
func (l *ladder) checkVacant() error {
	switch why, err := Occupied(l.dir); {
	case err != nil:
		return stage.Wrap(stage.Source, err, "cannot look at the place for the kernel source", "let the share's owner, as whom builder works there, read SHARE/linux, or move it away")
	case why != "":
		return stage.New(stage.Source, fmt.Sprintf("%s %s, and would be lost if the source of kernel %s took its place",
			l.dir, why, l.release.Full), "move it away and run again")
	}
	return nil
}

// Occupied says why what is at dir is not ours to remove ("holds changes
// (Makefile)"). It is "" where nothing is there, an empty folder, or a tree that
// [Checkout] left and nobody has worked in: no file is changed or new, and there
// is no commit, branch or stash that was not there then. A tree that a power cut
// has damaged before all of it was on the disk is ours as well.
func Occupied(dir string) (why string, err error) {
	info, err := beneath.Lstat(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return "", nil
	}
	if err != nil {
		return "", err
	}
	if !info.IsDir() {
		return "is not a folder", nil
	}
	if entries, err := beneath.ReadDir(dir); err == nil && len(entries) == 0 {
		return "", nil
	}
	r, err := readRecord(dir)
	if errors.Is(err, errDamaged) || r.Unsettled {
		return changedSince(dir), nil
	}
	if err != nil {
		return "was not made by builder", nil
	}
	if why := r.othersCommits(); why != "" {
		return why, nil
	}
	changed, err := firstChange(dir)
	if err != nil {
		return "cannot be told from one with changes (" + err.Error() + ")", nil
	}
	if changed != "" {
		return "holds changes (" + changed + ")", nil
	}
	return "", nil
}

// changedSince says what was done in a tree of ours since its record was written,
// or is "". It is for one that was not settled, or whose record is damaged: then
// what is not as it was checked out tells nothing, as a power cut may have lost
// it, but what is newer is somebody's. Git writes its index anew for whoever only
// looks.
func changedSince(dir string) string {
	last, err := beneath.Lstat(filepath.Join(dir, recordName))
	if err != nil {
		return "cannot be told from one with changes (" + err.Error() + ")"
	}
	var newer string
	err = beneath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if !ofSystems(d.Name()) && name != ".git/index" && info.ModTime().After(last.ModTime()) {
			newer = name
			return fs.SkipAll
		}
		return err
	})
	if err != nil {
		return "cannot be told from one with changes (" + err.Error() + ")"
	}
	if newer != "" {
		return "was damaged by a power cut, or another crash, and holds changes (" + newer + ")"
	}
	return ""
}

// ofSystems says whether a file's name is one of those that macOS leaves in
// folders that it shows.
func ofSystems(name string) bool { return name == ".DS_Store" || strings.HasPrefix(name, "._") }

// othersCommits says what the tree's repository has that Checkout did not put
// there, and that no server may have, or is "".
func (r record) othersCommits() string {
	head, err := r.head()
	if err != nil {
		return "cannot be told from one with commits (" + err.Error() + ")"
	}
	if head != r.Commit {
		return fmt.Sprintf("is at commit %.12s and not, as it was left, at %.12s", head, r.Commit)
	}
	if r.Rung == RungTarball {
		return ""
	}
	refs, err := partial.LocalRefs(r.Dir)
	if err != nil {
		return "cannot be told from one with commits (" + err.Error() + ")"
	}
	for _, ref := range refs {
		if ref != r.Ref {
			return "holds commits (" + ref + ")"
		}
	}
	return ""
}

// firstChange names a file of the tree that is new or not as it was checked
// out, or is "".
func firstChange(dir string) (string, error) {
	idx, err := partial.ReadIndex(dir)
	if err != nil {
		return "", err
	}
	_, changed, err := compare(dir, idx)
	return changed, err
}

// compare looks at the files of a tree until one is new or not as it was checked out, and
// names that, and those before it. It compares with git's index as git does, and reads a file
// only where its time differs, but it also counts what git is told to ignore;
// what macOS leaves in folders that it shows does not count.
func compare(dir string, idx *index.Index) (there map[string]bool, changed string, err error) {
	// Where the file system folds case, one file of such a pair stands for
	// both and fits either.
	entries := make(map[string][]*index.Entry)
	for _, e := range idx.Entries {
		if !e.SkipWorktree {
			name := strings.ToLower(e.Name)
			entries[name] = append(entries[name], e)
		}
	}
	there = make(map[string]bool, len(entries))
	err = beneath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(dir, path)
		if err != nil {
			return err
		}
		if d.IsDir() {
			if name == ".git" {
				return fs.SkipDir
			}
			return nil
		}
		info, err := d.Info()
		if err != nil {
			return err
		}
		if ofSystems(d.Name()) {
			return nil
		}
		if !slices.ContainsFunc(entries[strings.ToLower(name)], func(e *index.Entry) bool { return unchanged(e, path, info) }) {
			changed = name
			return fs.SkipAll
		}
		there[name] = true
		return nil
	})
	return there, changed, err
}

func unchanged(e *index.Entry, path string, info fs.FileInfo) bool {
	link := info.Mode()&fs.ModeSymlink != 0
	if link != (e.Mode == filemode.Symlink) || uint32(info.Size()) != e.Size {
		return false
	}
	return info.ModTime().Equal(e.ModifiedAt) || sameContent(e, path, link)
}

// sameContent reads a file, as after the share was copied.
func sameContent(e *index.Entry, path string, link bool) bool {
	var content []byte
	var err error
	if link {
		var to string
		to, err = beneath.Readlink(path)
		content = []byte(to)
	} else {
		content, err = beneath.ReadFile(path)
	}
	return err == nil && plumbing.ComputeHash(plumbing.BlobObject, content) == e.Hash
}

// replace puts the tree at next where dir is, and what was at dir at old, on
// the same file system. No moment has a part of a tree at dir, and where the
// second step fails the first is undone.
func replace(dir, next, old string) error {
	err := beneath.Rename(dir, old)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	had := err == nil
	if err := beneath.Rename(next, dir); err != nil {
		if had {
			err = errors.Join(err, beneath.Rename(old, dir))
		}
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}
