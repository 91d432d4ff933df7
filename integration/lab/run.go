package lab

import (
	"archive/tar"
	"bytes"
	"crypto/md5"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"strings"

	"github.com/klauspost/compress/zstd"

	"github.com/k8sp/cuda/internal/makeself/cksum"
)

// runHeader is the shell header of a self-extracting archive: the lines of
// NVIDIA's makeself 1.6.0-nv that say what the archive is and where it begins.
// The two sums are over everything from line 4 on; lines of fixed width let
// them be filled in last.
const (
	runSums   = "#!/bin/sh\nCRCsum=%010d\nMD5=%032x\n"
	runHeader = `label="NVIDIA Accelerated Graphics Driver for Linux-%[6]s %[1]s"
version_string=%[1]s
pkg_version_string=%[1]s
script=./nvidia-installer
targetdir=NVIDIA-Linux-%[6]s-%[1]s
TARGET_OS="Linux"
TARGET_ARCH="%[6]s"
skip_decompress=%[2]d
size_decompress=%[3]d
skip=%[4]d
echo "This archive was packed for the tests of k8sp/cuda, which read it as data." >&2
exit 1
`
	// decompressor stands where NVIDIA embeds a program that unpacks zstd.
	decompressor = "not a program:\nnobody runs it\n"
)

// packRun packs a folder as NVIDIA packs its driver: a header, an embedded
// decompressor, and a zstd'ed tar whose members begin with "./".
func packRun(folder, path, version, arch string) error {
	file, err := os.Create(path)
	if err != nil {
		return err
	}
	defer file.Close()
	first := 4 + bytes.Count([]byte(runHeader), []byte("\n"))
	skip := first + bytes.Count([]byte(decompressor), []byte("\n"))
	var crc cksum.Sum
	sum := md5.New()
	fmt.Fprintf(file, runSums, 0, make([]byte, md5.Size))
	out := io.MultiWriter(file, &crc, sum)
	if _, err := fmt.Fprintf(out, runHeader+"%[5]s", version, first, len(decompressor), skip, decompressor, arch); err != nil {
		return err
	}
	if err := packTar(out, folder); err != nil {
		return err
	}
	if _, err := file.WriteAt(fmt.Appendf(nil, runSums, crc.Sum32(), sum.Sum(nil)), 0); err != nil {
		return err
	}
	return errors.Join(file.Chmod(0o755), file.Close())
}

func packTar(w io.Writer, folder string) error {
	compressed, err := zstd.NewWriter(w)
	if err != nil {
		return err
	}
	out := tar.NewWriter(compressed)
	err = filepath.WalkDir(folder, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name := "." + strings.TrimPrefix(path, folder)
		if entry.IsDir() {
			return out.WriteHeader(&tar.Header{Name: name + "/", Mode: 0o755, Typeflag: tar.TypeDir})
		}
		return addFile(out, path, name, entry)
	})
	return errors.Join(err, out.Close(), compressed.Close())
}
