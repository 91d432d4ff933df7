package lab

import (
	"bytes"
	"compress/gzip"
	"context"
	_ "embed"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
)

//go:embed scripts/releases.sh
var releasesScript string

// TwoReleases returns the kernel's source with a second tag beside the first:
// that of another release of the same line, whose version is other.
func (l *Lab) TwoReleases(ctx context.Context, k Kernel) (two Kernel, other string, err error) {
	tool, err := l.labtool(ctx)
	if err != nil {
		return Kernel{}, "", err
	}
	dir, err := l.part(ctx, "releases", releasesScript+filepath.Base(k.Dir), func(dir string) error {
		return container{
			image:  Image,
			script: "version=" + k.Version + "\n" + releasesScript,
			out:    dir,
			mounts: []string{k.Dir + ":/kernel", tool + ":/labtool"},
		}.run(ctx)
	})
	if err != nil {
		return Kernel{}, "", err
	}
	text, err := os.ReadFile(filepath.Join(dir, "other"))
	return Kernel{Dir: dir, Version: k.Version}, strings.TrimSpace(string(text)), err
}

// As makes, in the folder dir, the root of the same host after an update to
// another version of its kernel, as far as its source is told from it.
func (h Host) As(dir, version string) (Host, error) {
	old, suffix, _ := strings.Cut(h.Release, "-")
	updated := Host{Dir: dir, Release: version + "-" + suffix}
	if err := os.CopyFS(dir, os.DirFS(h.Dir)); err != nil {
		return Host{}, err
	}
	for _, name := range []string{"proc/version", "proc/sys/kernel/osrelease"} {
		err := editFile(filepath.Join(dir, name), h.Release, updated.Release)
		if err != nil {
			return Host{}, err
		}
	}
	// A config says in its third line which version it is for.
	config := filepath.Join(dir, "proc/config.gz")
	file, err := os.Open(config)
	if err != nil {
		return Host{}, err
	}
	defer file.Close()
	plain, err := gzip.NewReader(file)
	if err != nil {
		return Host{}, err
	}
	content, err := io.ReadAll(plain)
	if err != nil {
		return Host{}, err
	}
	content = bytes.Replace(content, []byte(" "+old+" "), []byte(" "+version+" "), 1)
	return updated, os.WriteFile(config, compress(content), 0o644)
}

// As makes, in the folder dir, the package as the next version of its line: the same
// sources that say another version of themselves, as NVIDIA's do that fix something in
// their core objects.
func (d Driver) As(dir, version string) (Driver, error) {
	folder := filepath.Join(dir, "NVIDIA-Linux-x86_64-"+version)
	if err := os.CopyFS(folder, os.DirFS(d.Folder)); err != nil {
		return Driver{}, err
	}
	edits := map[string]string{".manifest": "\n%s\n"}
	for _, kbuild := range []string{"kernel/Kbuild", "kernel-open/Kbuild"} {
		if _, err := os.Lstat(filepath.Join(folder, kbuild)); err == nil {
			edits[kbuild] = `-DNV_VERSION_STRING=\"%s\"`
		}
	}
	for name, words := range edits {
		if err := editFile(filepath.Join(folder, name), fmt.Sprintf(words, d.Version), fmt.Sprintf(words, version)); err != nil {
			return Driver{}, err
		}
	}
	return Driver{Version: version, Folder: folder}, nil
}

// editFile replaces words that a file must have.
func editFile(path, old, new string) error {
	content, err := os.ReadFile(path)
	if err != nil {
		return err
	}
	if !bytes.Contains(content, []byte(old)) {
		return fmt.Errorf("%s does not say %s", path, old)
	}
	return os.WriteFile(path, bytes.ReplaceAll(content, []byte(old), []byte(new)), 0o644)
}
