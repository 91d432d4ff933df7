// Package fabrictest makes archives such as NVIDIA publishes its fabric manager in, and
// serves them, for tests.
package fabrictest

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/ulikunitz/xz"
)

// Whole is what an archive of NVIDIA's has, as far as it is told apart: texts by path,
// and links as "-> target".
var Whole = map[string]string{
	"LICENSE": "text", "bin/nv-fabricmanager": "program", "bin/nvidia-fabricmanager-start.sh": "script", "bin/nvswitch-audit": "program",
	"etc/fabricmanager.cfg": "DAEMONIZE=1\n", "lib/libnvfm.so.1": "library", "lib/libnvfm.so": "-> libnvfm.so.1",
	"share/nvidia/nvswitch/dgxh100_hgxh100_topology": "topology", "systemd/nvidia-fabricmanager.service": "unit", "include/nv_fm_agent.h": "header",
}

// Name is an archive's for x86-64.
func Name(version string) string {
	return "fabricmanager-linux-x86_64-" + version + "-archive.tar.xz"
}

// Archive is the archive of a version, with these files.
func Archive(t testing.TB, version string, files map[string]string) []byte {
	t.Helper()
	var packed bytes.Buffer
	x, err := xz.NewWriter(&packed)
	if err != nil {
		t.Fatal(err)
	}
	w := tar.NewWriter(x)
	for _, name := range slices.Sorted(maps.Keys(files)) {
		text := files[name]
		h := tar.Header{Name: strings.TrimSuffix(Name(version), ".tar.xz") + "/" + name, Typeflag: tar.TypeReg, Size: int64(len(text)), Mode: 0o644}
		if link, is := strings.CutPrefix(text, "-> "); is {
			h.Typeflag, h.Size, h.Linkname = tar.TypeSymlink, 0, link
		}
		err := w.WriteHeader(&h)
		if err == nil && h.Typeflag == tar.TypeReg {
			_, err = w.Write([]byte(text))
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(w.Close(), x.Close()); err != nil {
		t.Fatal(err)
	}
	return packed.Bytes()
}

// Serve serves an archive below /redist, with an index that has a digest for it.
func Serve(t testing.TB, version string, content []byte, digest string) *httptest.Server {
	t.Helper()
	at := "fabricmanager/linux-x86_64/" + Name(version)
	mux := http.NewServeMux()
	mux.HandleFunc("/redist/redistrib_"+version+".json", func(w http.ResponseWriter, _ *http.Request) {
		fmt.Fprintf(w, `{"release_label":%q,"fabricmanager":{"name":"NVIDIA Fabric Manager","version":%q,"linux-x86_64":{"relative_path":%q,"sha256":%q,"size":"1"}},"imex":{}}`, version, version, at, digest)
	})
	mux.HandleFunc("/redist/"+at, func(w http.ResponseWriter, r *http.Request) {
		http.ServeContent(w, r, "", time.Time{}, bytes.NewReader(content))
	})
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	return server
}
