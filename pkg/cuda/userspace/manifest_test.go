package userspace

import (
	"bytes"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/k8sp/cuda/pkg/cuda"
)

func TestSchema(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	compiler := jsonschema.NewCompiler()
	if err := compiler.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	schema, err := compiler.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	o := shelf(t, cuda.RunFile, files(t))
	root := lay(t, o)
	written, err := os.ReadFile(filepath.Join(root.Dir, ManifestFile))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		old, new string
		valid    bool
	}{
		"as it is":              {"", "", true},
		"a file elsewhere":      {`"file": "usr/bin/nvidia-smi"`, `"file": "../nvidia-smi"`, false},
		"an absolute file":      {`"file": "usr/bin/nvidia-smi"`, `"file": "/usr/bin/nvidia-smi"`, false},
		"a mode with setuid":    {`"mode": "0755"`, `"mode": "4755"`, false},
		"a short digest":        {`"sha256": "`, `"sha256": "0`, false},
		"another part":          {`"part": "compute"`, `"part": "none"`, false},
		"a field more":          {`"part"`, `"more": 1, "part"`, false},
		"no links at all":       {`"links"`, `"bonds"`, false},
		"an absolute target":    {`"target": "libcuda.so.1"`, `"target": "/libcuda.so.1"`, false},
		"a version that is not": {`"version": "535`, `"version": "v535`, false},
	} {
		t.Run(name, func(t *testing.T) {
			changed := strings.Replace(string(written), c.old, c.new, 1)
			if c.old != "" && changed == string(written) {
				t.Fatalf("there is no %s in %s", c.old, written)
			}
			doc, err := jsonschema.UnmarshalJSON(strings.NewReader(changed))
			if err != nil {
				t.Fatal(err)
			}
			if err := schema.Validate(doc); (err == nil) != c.valid {
				t.Errorf("valid: %v, %v", err == nil, err)
			}
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(`{"schema":1,"version":"535.1","part":"all","files":[{"file":"usr/bin/x","mode":"0755"}],"links":[{"file":"usr/lib64/a","target":"../b"}]}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, file := range m.Files {
			if !filepath.IsLocal(file.Path) {
				t.Errorf("a file %q outside of the folder", file.Path)
			}
		}
		for _, l := range m.Links {
			if !filepath.IsLocal(l.Path) || !filepath.IsLocal(filepath.Join(filepath.Dir(l.Path), l.Target)) {
				t.Errorf("a link %q to %q outside of the folder", l.Path, l.Target)
			}
		}
		rootOf("/", m)
		text, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		again, err := ParseManifest(bytes.NewReader(text))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(len(m.Files)+len(m.Links), len(again.Files)+len(again.Links)); diff != "" {
			t.Error(diff)
		}
	})
}

func FuzzCachedPaths(f *testing.F) {
	cache, err := os.ReadFile(filepath.Join("testdata", "ld.so.cache"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(cache)
	f.Add([]byte(cacheMagic))
	f.Fuzz(func(t *testing.T, data []byte) {
		if n := len(cachedPaths(data, "libcuda.so.1")); n > len(data)/cacheEntry {
			t.Errorf("%d paths in %d bytes", n, len(data))
		}
	})
}
