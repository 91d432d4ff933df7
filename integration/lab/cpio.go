package lab

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/decompress"
)

// initramfs is what a machine boots into: contents by absolute path.
type initramfs map[string][]byte

// add adds a file of this machine. A compressed module is unpacked, since not
// every kernel can do that.
func (i initramfs) add(name, file string) error {
	content, err := os.Open(file)
	if err != nil {
		return err
	}
	defer content.Close()
	var inside io.Reader = content
	if strings.HasSuffix(strings.TrimSuffix(file, path.Ext(file)), ".ko") {
		unpacked, _, err := decompress.Reader(bufio.NewReader(content))
		if err != nil {
			return fmt.Errorf("%s: %w", file, err)
		}
		defer unpacked.Close()
		inside = unpacked
	}
	i[name], err = io.ReadAll(inside)
	return err
}

// write writes it as a cpio archive of the kind "newc", in which the kernel
// takes it (Documentation/driver-api/early-userspace/buffer-format.rst).
// Every file may be executed.
func (i initramfs) write(file string) error {
	out, err := os.Create(file)
	if err != nil {
		return err
	}
	defer out.Close()
	archive := cpio{w: bufio.NewWriterSize(out, 1<<20)}
	folders := map[string]bool{"/": true}
	for _, name := range slices.Sorted(maps.Keys(i)) {
		archive.folder(path.Dir(name), folders)
		archive.member(name, unix.S_IFREG|0o755, i[name])
	}
	archive.member("/TRAILER!!!", 0, nil)
	return errors.Join(archive.w.Flush(), out.Close())
}

type cpio struct {
	w      *bufio.Writer // which keeps its first error
	inodes int
}

// folder adds a folder after those that it is in.
func (c *cpio) folder(name string, have map[string]bool) {
	if have[name] {
		return
	}
	have[name] = true
	c.folder(path.Dir(name), have)
	c.member(name, unix.S_IFDIR|0o755, nil)
}

func (c *cpio) member(name string, mode int, content []byte) {
	c.inodes++
	name = name[1:]
	fmt.Fprintf(c.w, "070701%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x%08x",
		c.inodes, mode, 0, 0, 1, 0, len(content), 0, 0, 0, 0, len(name)+1, 0)
	const header = 110
	c.w.WriteString(name + strings.Repeat("\x00", 1+padding(header+len(name)+1)))
	c.w.Write(content)
	c.w.WriteString(strings.Repeat("\x00", padding(len(content))))
}

// padding is what a length lacks to be one of whole 4-byte words.
func padding(length int) int { return -length & 3 }
