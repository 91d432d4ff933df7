package main

import (
	"archive/tar"
	"bytes"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFastImport(t *testing.T) {
	makefile := "# SPDX\nVERSION = 6\nPATCHLEVEL = 1\nSUBLEVEL = 192\nEXTRAVERSION =\n"
	var in bytes.Buffer
	archive := tar.NewWriter(&in)
	for _, m := range []struct {
		tar.Header
		content string
	}{
		{tar.Header{Name: "linux/", Typeflag: tar.TypeDir, Mode: 0o755}, ""},
		{tar.Header{Name: "linux/Makefile", Mode: 0o644}, makefile},
		{tar.Header{Name: "linux/scripts/Makefile", Mode: 0o644}, "VERSION = 9\n"},
		{tar.Header{Name: "linux/scripts/run.sh", Mode: 0o755}, "x"},
		{tar.Header{Name: "linux/link", Typeflag: tar.TypeSymlink, Linkname: "Makefile"}, ""},
	} {
		m.Size = int64(len(m.content))
		if err := archive.WriteHeader(&m.Header); err != nil {
			t.Fatal(err)
		}
		if _, err := archive.Write([]byte(m.content)); err != nil {
			t.Fatal(err)
		}
	}
	archive.Close()
	var out strings.Builder
	if err := fastImport(&in, &out, "v%s-coreos"); err != nil {
		t.Fatal(err)
	}
	_, tree, _ := strings.Cut(out.String(), "tarball.\n")
	want := "M 100644 inline Makefile\ndata 64\n" + makefile + "\n" +
		"M 100644 inline scripts/Makefile\ndata 12\nVERSION = 9\n\n" +
		"M 100755 inline scripts/run.sh\ndata 1\nx\n" +
		"M 120000 inline link\ndata 8\nMakefile\n" +
		"tag v6.1.192-coreos\nfrom :1\ntagger " + author + "\ndata 15\nv6.1.192-coreos\n"
	if diff := cmp.Diff(want, tree); diff != "" {
		t.Errorf("stream (-want +got):\n%s", diff)
	}
	if err := fastImport(&bytes.Buffer{}, &out, "v%s"); err == nil {
		t.Error("an empty tarball is a kernel source")
	}
}
