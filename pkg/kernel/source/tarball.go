package source

import (
	"bufio"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/decompress"
	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/internal/untar"
	"github.com/k8sp/cuda/pkg/kernel/source/partial"
	"github.com/k8sp/cuda/pkg/stage"
)

// maxMembers bounds the files and folders of a tarball; a kernel of 2026 has
// 96,000.
const maxMembers = 1 << 19

// fetchTarball unpacks what is needed of the tarball in scratch, and puts it in
// place once the digest of the whole is right.
func (l *ladder) fetchTarball(ctx context.Context) (Tree, error) {
	f := found{ref: l.refs[0]}
	work, err := beneath.MkdirTemp(l.scratch, "source-")
	if err != nil {
		return Tree{}, l.cannot("make a scratch folder for", f, err)
	}
	defer beneath.RemoveAll(work)
	zerolog.Ctx(ctx).Info().Str("from", l.clone).Msg("unpacking the kernel source")
	dir, digest, err := l.unpack(ctx, work)
	if ctx.Err() != nil {
		return Tree{}, ctx.Err()
	}
	if err != nil {
		return Tree{}, l.cannot("unpack", f, err)
	}
	if l.SHA256 != "" && digest != l.SHA256 {
		return Tree{}, stage.New(stage.Source, fmt.Sprintf("%s has the SHA-256 %s, not %s", l.clone, digest, l.SHA256),
			"it is damaged, or not what you think it is: fetch it again, and check the digest")
	}
	if err := l.patch(dir); err != nil {
		return Tree{}, l.cannotPatch(f, err)
	}
	return l.put(dir, filepath.Join(work, "old"), f, Tree{Dir: l.dir, Rung: RungTarball, Ref: f.ref, Commit: digest, Patches: l.patchesOf()})
}

// unpack leaves the files that are needed in a folder below work, with a list
// of all that there are, and returns it and the tarball's digest.
func (l *ladder) unpack(ctx context.Context, work string) (dir, digest string, err error) {
	read := func(r io.Reader) error {
		// A connection that failed leaves half a tree.
		to, err := beneath.MkdirTemp(work, "tree-")
		if err == nil {
			dir, digest, err = l.unpackFrom(ctx, r, to)
		}
		return err
	}
	if isURL(l.clone) {
		return dir, digest, partial.Get(ctx, l.fetchOptions(), l.From, read)
	}
	f, err := beneath.Open(l.clone)
	if err != nil {
		return "", "", err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return "", "", err
	}
	task := progress.Begin(ctx, "kernel source", progress.Bytes, info.Size())
	defer task.End()
	err = read(task.Reader(f))
	return dir, digest, err
}

// unpackFrom is unpack from what a tarball holds, into an empty folder.
func (l *ladder) unpackFrom(ctx context.Context, r io.Reader, to string) (dir, digest string, err error) {
	sum := sha256.New()
	compressed := bufio.NewReaderSize(io.TeeReader(r, sum), 1<<16)
	plain, _, err := decompress.Reader(compressed)
	if err != nil {
		return "", "", err
	}
	defer plain.Close()
	top, absent := "", []string{}
	err = untar.Extract(ctx, plain, to, untar.Options{MaxFiles: maxMembers, Want: func(member string) bool {
		folder, name, below := strings.Cut(member, "/")
		if top == "" {
			top = folder
		}
		// A tar of a checkout has its repository, which is none of the source.
		if !below || folder != top || name == ".git" || strings.HasPrefix(name, ".git/") {
			return false
		}
		wanted := l.wants(name)
		if !wanted {
			absent = append(absent, name)
		}
		return wanted
	}})
	if err != nil {
		return "", "", err
	}
	if _, err := io.Copy(io.Discard, compressed); err != nil {
		return "", "", err
	}
	if top == "" {
		return "", "", errors.New("it is empty")
	}
	dir = filepath.Join(to, top)
	return dir, hex.EncodeToString(sum.Sum(nil)), partial.WriteIndex(dir, absent)
}
