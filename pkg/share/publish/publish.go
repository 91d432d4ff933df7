package publish

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// Folder is what to publish and where.
type Folder struct {
	// Share is where it is published. Its lock is held.
	Share *share.Share
	// Scratch is a folder on the share's file system.
	Scratch string
	// Link is the path in the share that shall lead to the folder.
	Link string
	// Index names the file in it that lists the others, and Text is its
	// content. The same text is the same folder.
	Index string
	Text  []byte
	// Files are all the others.
	Files []File
	// Sign, where it is not nil, signs Text, for the file [SignatureFile] beside the
	// index. A folder of the same text whose signature is another, or that has none,
	// is then replaced; without Sign, a signature that is there stays.
	Sign Sign
	// Step, where it is not nil, is called before each change that others can
	// see, so that a test can crash there.
	Step func(name string) error
}

// Publish makes the folder visible. Publishing what is there already changes
// nothing. An error that is not a [stage.Error] is for the caller to explain;
// after any, what was published before is as it was.
func (f Folder) Publish(ctx context.Context) error {
	if err := Linkable(f.Link); err != nil {
		return err
	}
	var signature []byte
	if f.Sign != nil {
		var err error
		if signature, err = f.Sign(f.Text); err != nil {
			return fmt.Errorf("sign %s: %w", f.Index, err)
		}
	}
	// What no link names, whole or not, has no right to the name of the content.
	f.sweep(ctx)
	name, found, err := f.contentFolder(signature)
	if err != nil {
		return err
	}
	if !found {
		if err := f.place(ctx, filepath.Join(filepath.Dir(f.Link), name), signature); err != nil {
			return err
		}
	}
	if err := f.point(name); err != nil {
		return err
	}
	f.sweep(ctx)
	return nil
}

// Linkable refuses a place where a link cannot be put.
func Linkable(link string) error {
	info, err := beneath.Lstat(link)
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	if info.Mode()&fs.ModeSymlink == 0 {
		return stage.New(stage.Publish, fmt.Sprintf("%s is not a link that builder made, so it is not replaced", link), "move it away, and run again")
	}
	return nil
}

// Ready says, before the work, whether something could be published at a link:
// the place is free or a link, and the share's file system has symbolic links.
func Ready(s *share.Share, scratch, link string) error {
	if err := Linkable(link); err != nil {
		return placeless(s, err)
	}
	probe := filepath.Join(scratch, "link")
	if err := atomicfile.Symlink(".", probe); err != nil {
		return explain(s, err, fmt.Sprintf("the share %s has no symbolic links, by which results are published whole", s.Dir()),
			"share the folder over NFS, or from a Linux file system")
	}
	return placeless(s, beneath.Remove(probe))
}

// placeless explains an error of looking whether there is a place for a result.
func placeless(s *share.Share, err error) error {
	return Explain(context.Background(), s, err, "there is no place for a result in the share "+s.Dir(), "let the share's owner, as whom builder works there, write to it")
}

// Explain makes an error of [Folder.Publish], or of what led to it, one of the
// publish stage: with the share's own reason where it has one, else with the
// given reason and hint. One that is explained already, and whatever comes when
// ctx has ended, stays as it is.
func Explain(ctx context.Context, s *share.Share, err error, reason, hint string) error {
	var known *stage.Error
	if err == nil || errors.As(err, &known) || ctx.Err() != nil {
		return err
	}
	return explain(s, err, reason, hint)
}

func explain(s *share.Share, err error, reason, hint string) error {
	if explained := s.Explain(stage.Publish, err); explained != err {
		return explained
	}
	return stage.Wrap(stage.Publish, err, reason, hint)
}

func (f Folder) step(name string) error {
	if f.Step == nil {
		return nil
	}
	return f.Step(name)
}

// mostDamaged bounds how many folders of one content may be damaged.
const mostDamaged = 100

// contentFolder is the name of the folder with the content, and whether it is
// there and whole. A folder of that name that was damaged since, or that somebody
// else has signed, is left alone, because the link may still point at it, and the next
// free name is taken.
func (f Folder) contentFolder(signature []byte) (name string, found bool, err error) {
	sum := sha256.Sum256(f.Text)
	digest := hex.EncodeToString(sum[:])[:share.DigestDigits]
	now, _ := beneath.Readlink(f.Link)
	for n := range mostDamaged {
		dir := share.Content(f.Link, digest, n)
		// What is published serves, also where those before it are gone.
		if filepath.Base(dir) == now && f.whole(dir, signature) {
			return now, true, nil
		}
	}
	for n := range mostDamaged {
		dir := share.Content(f.Link, digest, n)
		name = filepath.Base(dir)
		if _, err := beneath.Lstat(dir); errors.Is(err, fs.ErrNotExist) {
			return name, false, nil
		}
		if f.whole(dir, signature) {
			return name, true, nil
		}
	}
	return "", false, fmt.Errorf("%s holds too many damaged results", filepath.Dir(f.Link))
}

func (f Folder) whole(dir string, signature []byte) bool {
	text, err := readSome(filepath.Join(dir, f.Index), int64(len(f.Text)))
	if err != nil || string(text) != string(f.Text) {
		return false
	}
	if signature != nil {
		there, err := readSignature(dir, f.Index)
		if err != nil || string(there) != string(signature) {
			return false
		}
	}
	return !slices.ContainsFunc(f.Files, func(file File) bool { return file.Differs(dir) != "" })
}

// place makes the content folder: whole in scratch, then by one rename.
func (f Folder) place(ctx context.Context, dir string, signature []byte) error {
	temp, err := beneath.MkdirTemp(f.Scratch, "publish-")
	if err != nil {
		return err
	}
	defer beneath.RemoveAll(temp)
	if err := f.fill(ctx, temp, signature); err != nil {
		return err
	}
	if err := f.Share.MkdirAll(filepath.Dir(dir)); err != nil {
		return err
	}
	if err := f.step("place"); err != nil {
		return err
	}
	if err := beneath.Rename(temp, dir); err != nil {
		return err
	}
	return atomicfile.SyncDir(filepath.Dir(dir))
}

// fill writes the files, the index and its signature into dir.
func (f Folder) fill(ctx context.Context, dir string, signature []byte) error {
	folders := []string{dir}
	for _, file := range f.Files {
		if err := ctx.Err(); err != nil {
			return err
		}
		if err := f.step("copy " + file.Name); err != nil {
			return err
		}
		folder, err := file.placeIn(dir)
		if err != nil {
			return err
		}
		folders = append(folders, folder)
	}
	if err := f.step("manifest"); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(filepath.Join(dir, f.Index), f.Text, 0o644); err != nil {
		return err
	}
	if signature != nil {
		if err := atomicfile.WriteFile(filepath.Join(dir, SignatureFile(f.Index)), signature, 0o644); err != nil {
			return err
		}
	}
	if err := settle(dir, folders); err != nil {
		return err
	}
	return nil
}

// settle gives the folders, and those between them and dir, the mode that a
// umask kept them from, and flushes them to the disk.
func settle(dir string, folders []string) error {
	done := map[string]bool{}
	for _, folder := range folders {
		for ; !done[folder]; folder = filepath.Dir(folder) {
			done[folder] = true
			if err := beneath.Chmod(folder, 0o755); err != nil {
				return err
			}
			if err := atomicfile.SyncDir(folder); err != nil {
				return err
			}
			if folder == dir {
				break
			}
		}
	}
	return nil
}

// point makes the link name the content folder.
func (f Folder) point(name string) error {
	if now, err := beneath.Readlink(f.Link); err == nil && now == name {
		return nil
	}
	if err := f.step("point"); err != nil {
		return err
	}
	if err := atomicfile.Symlink(name, f.Link); err != nil {
		if errors.Is(err, unix.EPERM) || errors.Is(err, unix.ENOTSUP) {
			return stage.Wrap(stage.Publish, err, "the share has no symbolic links, by which results are published whole",
				"share the folder over NFS, or from a Linux file system")
		}
		return err
	}
	return nil
}
