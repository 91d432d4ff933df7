package cuda

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"hash"
	"io"
	"io/fs"

	"github.com/k8sp/cuda/internal/beneath"
)

// Digest is what the modules are built from, as sha256:HEX: the digest of the
// whole file of a .run; of a folder, that of the files that a module build
// uses, their names and whether they may be executed. It reads all of them, a
// second a gigabyte or so; [Package.Fingerprint] tells whether that is needed.
func (p Package) Digest(ctx context.Context) (string, error) {
	sum := sha256.New()
	var err error
	if p.Kind == Folder {
		err = p.digestFolder(ctx, sum)
	} else {
		err = digestFile(ctx, sum, fs.FS(beneath.Dir(p.dir())), p.Name())
	}
	if err != nil {
		return "", explain(p, err)
	}
	return digestOf(sum), nil
}

func digestOf(sum hash.Hash) string { return "sha256:" + hex.EncodeToString(sum.Sum(nil)) }

func (p Package) digestFolder(ctx context.Context, sum hash.Hash) error {
	root := beneath.Dir(p.Path)
	m, err := readManifest(root)
	if err != nil {
		return err
	}
	return digestMembers(ctx, sum, root, m.buildFiles())
}

// digestMembers adds to sum, for each file, its name, whether it may be
// executed, and the digest of its content.
func digestMembers(ctx context.Context, sum hash.Hash, files fs.FS, names []string) error {
	for _, name := range names {
		info, err := fs.Stat(files, name)
		if err != nil {
			return err
		}
		content := sha256.New()
		if err := digestFile(ctx, content, files, name); err != nil {
			return err
		}
		fmt.Fprintf(sum, "%q %t %x\n", name, info.Mode()&0o111 != 0, content.Sum(nil))
	}
	return nil
}

func digestFile(ctx context.Context, sum io.Writer, files fs.FS, name string) error {
	f, err := files.Open(name)
	if err != nil {
		return err
	}
	defer f.Close()
	return copyContext(ctx, sum, f)
}

// Fingerprint is a cheap stand-in for the digest, from names, sizes and times
// of modification: while it stays the same, the digest may be taken to. It is
// of no meaning on another machine.
func (p Package) Fingerprint() (string, error) {
	files, members := fs.FS(beneath.Dir(p.dir())), []string{p.Name()}
	if p.Kind == Folder {
		root := beneath.Dir(p.Path)
		m, err := readManifest(root)
		if err != nil {
			return "", err
		}
		files, members = root, m.buildFiles()
	}
	sum := sha256.New()
	fmt.Fprintf(sum, "%q\n", p.Name())
	for _, name := range members {
		info, err := fs.Stat(files, name)
		if err != nil {
			return "", err
		}
		fmt.Fprintf(sum, "%q %v %d %d\n", name, info.Mode(), info.Size(), info.ModTime().UnixNano())
	}
	return hex.EncodeToString(sum.Sum(nil)), nil
}
