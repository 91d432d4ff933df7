package check

import (
	"bytes"
	"compress/gzip"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/url"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/coreos/butane/config"
	"github.com/coreos/butane/config/common"
	"github.com/google/go-cmp/cmp"
)

// systemd is the folder of the units and of the Butane file that installs them.
const systemd = "../systemd"

// ignition is the part of an Ignition config (spec 3.4.0) that flatcar.bu uses.
type ignition struct {
	Storage struct {
		Files       []file
		Directories []directory
	}
	Systemd struct {
		Units []struct {
			Name, Contents string
			Enabled, Mask  bool
		}
	}
}

type directory struct{ Path string }

type file struct {
	Path     string
	Mode     int
	Contents struct{ Source, Compression string }
}

// TestButane translates flatcar.bu as `butane --strict` does, and finds in the
// result every file of the folder as it is.
func TestButane(t *testing.T) {
	source := read(t, systemd, "flatcar.bu")
	text, report, err := config.TranslateBytes([]byte(source), common.TranslateBytesOptions{
		TranslateOptions: common.TranslateOptions{FilesDir: systemd},
	})
	if err != nil || len(report.Entries) > 0 { // --strict: warnings are errors
		t.Fatalf("butane objects: %v\n%s", err, report.String())
	}
	var got ignition
	if err := json.Unmarshal(text, &got); err != nil {
		t.Fatal(err)
	}

	installed := map[string]string{} // file of the folder: how it is installed
	for _, f := range got.Storage.Files {
		name := filepath.Base(f.Path)
		if diff := cmp.Diff(read(t, systemd, name), decode(t, f.Contents.Source, f.Contents.Compression)); diff != "" {
			t.Errorf("%s is not %s (-want +got):\n%s", f.Path, name, diff)
		}
		installed[name] = f.Path
		if f.Mode&0o111 != 0 {
			installed[name] += " executable"
		}
	}
	for _, u := range got.Systemd.Units {
		if u.Mask {
			continue
		}
		if diff := cmp.Diff(read(t, systemd, u.Name), u.Contents); diff != "" {
			t.Errorf("the unit %s is another (-want +got):\n%s", u.Name, diff)
		}
		installed[u.Name] = "unit"
		if u.Enabled {
			installed[u.Name] += " enabled"
		}
		if hasInstall := strings.Contains(u.Contents, "\n[Install]\n"); hasInstall != u.Enabled {
			t.Errorf("%s: an [Install] section: %v, enabled: %v", u.Name, hasInstall, u.Enabled)
		}
	}
	want := map[string]string{
		"cuda-daemons.service":      "unit enabled",
		"cuda-driver.env":           "/etc/cuda-driver.env",
		"cuda-driver.service":       "unit enabled",
		"cuda-hold-updates.service": "unit enabled",
		"cuda-modules.service":      "unit",
		"cuda-next-kernel":          "/opt/bin/cuda-next-kernel executable",
		"cuda-next-kernel.path":     "unit enabled",
		"cuda-next-kernel.service":  "unit",
		"oem-postinst":              "/opt/bin/oem-postinst executable",
	}
	if diff := cmp.Diff(want, installed); diff != "" {
		t.Errorf("what is installed (-want +got):\n%s", diff)
	}
	for _, u := range got.Systemd.Units {
		for _, path := range regexp.MustCompile(`/(etc/cuda|opt/bin)[a-z./-]+`).FindAllString(u.Contents, -1) {
			if !slices.ContainsFunc(got.Storage.Files, func(f file) bool { return f.Path == path }) &&
				!slices.ContainsFunc(got.Storage.Directories, func(d directory) bool { return d.Path == path }) {
				t.Errorf("%s names %s, which nobody installs", u.Name, path)
			}
		}
	}
	entries, err := os.ReadDir(systemd)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		if _, ok := want[e.Name()]; !ok && e.Name() != "flatcar.bu" {
			t.Errorf("flatcar.bu does not install %s", e.Name())
		}
	}
}

// decode returns what a data URL holds.
func decode(t *testing.T, source, compression string) string {
	t.Helper()
	meta, data, ok := strings.Cut(strings.TrimPrefix(source, "data:"), ",")
	if !ok {
		t.Fatalf("%.40s is no data URL", source)
	}
	var content []byte
	var err error
	if strings.HasSuffix(meta, ";base64") {
		content, err = base64.StdEncoding.DecodeString(data)
	} else {
		var text string
		text, err = url.PathUnescape(data)
		content = []byte(text)
	}
	if err == nil && compression == "gzip" {
		var r *gzip.Reader
		if r, err = gzip.NewReader(bytes.NewReader(content)); err == nil {
			content, err = io.ReadAll(r)
		}
	}
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func read(t *testing.T, name ...string) string {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(name...))
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
