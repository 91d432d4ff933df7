package registry

import (
	"archive/tar"
	"context"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// packRuntime makes the layer of what runs in an artefact's image, of a folder that is its
// root. What is there by a link that leads to an absolute path is what that leads to on
// this machine; other links stay links.
func packRuntime(ctx context.Context, dir, to string) (blob, error) {
	return compress(to, func(w packer) error {
		return filepath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
			if err != nil || entry.IsDir() {
				return err
			}
			if err := ctx.Err(); err != nil {
				return err
			}
			name, err := filepath.Rel(dir, path)
			if err != nil {
				return err
			}
			return w.program(filepath.ToSlash(name), path, entry)
		})
	})
}

// program writes a file of the runtime's.
func (p packer) program(name, path string, entry fs.DirEntry) error {
	if err := p.parents(name); err != nil {
		return err
	}
	if entry.Type()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(path)
		if err != nil {
			return err
		}
		if !filepath.IsAbs(target) {
			return p.header(tar.Header{Typeflag: tar.TypeSymlink, Name: name, Linkname: target, Mode: 0o777})
		}
	}
	in, err := os.Open(path)
	if err != nil {
		return err
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return err
	}
	if err := p.header(tar.Header{Typeflag: tar.TypeReg, Name: name, Size: info.Size(), Mode: int64(info.Mode().Perm())}); err != nil {
		return err
	}
	_, err = io.Copy(p, in)
	return err
}
