package main

import (
	"archive/tar"
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"regexp"
	"strings"
)

// author is who made the lab's commits, and when: fixed, so that the same
// tarball gives the same commit on every machine.
const author = "k8sp/cuda lab <lab@localhost> 1700000000 +0000"

// fastImport reads a kernel source tarball and writes it as the one commit of
// a repository, in the format of git-fast-import(1). The commit gets an
// annotated tag, whose name is tagFormat with the version that the tree's own
// Makefile says in place of its %s.
func fastImport(r io.Reader, w io.Writer, tagFormat string) error {
	out := bufio.NewWriterSize(w, 1<<20)
	message := "The whole tree of a kernel source tarball.\n"
	fmt.Fprintf(out, "commit refs/heads/main\nmark :1\ncommitter %s\ndata %d\n%s", author, len(message), message)
	version, err := importMembers(tar.NewReader(r), out)
	if err != nil {
		return err
	}
	tag := fmt.Sprintf(tagFormat, version)
	fmt.Fprintf(out, "tag %s\nfrom :1\ntagger %s\ndata %d\n%s\n", tag, author, len(tag), tag)
	return out.Flush()
}

func importMembers(archive *tar.Reader, out *bufio.Writer) (version string, err error) {
	for {
		header, err := archive.Next()
		if errors.Is(err, io.EOF) {
			if version == "" {
				return "", errors.New("the tarball has no top-level Makefile: not a kernel source")
			}
			return version, nil
		}
		if err != nil {
			return "", err
		}
		_, name, _ := strings.Cut(header.Name, "/") // less the folder that everything is in
		switch header.Typeflag {
		case tar.TypeReg:
			var content io.Reader = archive
			if name == "Makefile" {
				makefile, err := io.ReadAll(archive)
				if err != nil {
					return "", err
				}
				version, content = makefileVersion(makefile), bytes.NewReader(makefile)
			}
			mode := "100644"
			if header.Mode&0o100 != 0 {
				mode = "100755"
			}
			fmt.Fprintf(out, "M %s inline %s\ndata %d\n", mode, name, header.Size)
			if _, err := io.Copy(out, content); err != nil {
				return "", err
			}
			out.WriteByte('\n')
		case tar.TypeSymlink:
			fmt.Fprintf(out, "M 120000 inline %s\ndata %d\n%s\n", name, len(header.Linkname), header.Linkname)
		case tar.TypeDir, tar.TypeXGlobalHeader:
		default:
			return "", fmt.Errorf("%s: a tar member of type %q has no place in a git tree", header.Name, header.Typeflag)
		}
	}
}

var versionLine = regexp.MustCompile(`(?m)^(?:VERSION|PATCHLEVEL|SUBLEVEL) = (\d+)$`)

// makefileVersion is "6.1.176" of a kernel's top-level Makefile.
func makefileVersion(makefile []byte) string {
	var numbers []string
	for _, match := range versionLine.FindAllSubmatch(makefile, 3) {
		numbers = append(numbers, string(match[1]))
	}
	return strings.Join(numbers, ".")
}
