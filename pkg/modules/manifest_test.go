package modules

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/santhosh-tekuri/jsonschema/v6"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

// manifest is that of the recorded modules.
func manifest(t testing.TB, mods []Module) Manifest {
	t.Helper()
	target := target(t)
	entries, err := Entries(mods, target)
	if err != nil {
		t.Fatal(err)
	}
	index, err := describeFile(filepath.Join("testdata", "ko", "modules.dep"))
	if err != nil {
		t.Fatal(err)
	}
	target.Distribution = kernel.Distribution{ID: "coreos", VersionID: "1185.3.0", PrettyName: "Container Linux"}
	target.Compiler.Version = "12.2.0"
	target.Config.Digest, target.Config.From = digestOf('c'), "proc/config.gz"
	target.Exports.Digest, target.Exports.From = digestOf('e'), "proc/kallsyms"
	exports, err := describeFile(filepath.Join("testdata", "ko", ExportsFile))
	if err != nil {
		t.Fatal(err)
	}
	return Manifest{
		Inputs: map[string]string{"driver": digestOf('a')},
		Target: DescribeTarget(target),
		Source: SourceInfo{Rung: "tag", Repository: "coreos/linux", Ref: "refs/tags/v6.1.192-coreos", Commit: strings.Repeat("0f", 20)},
		Driver: DriverInfo{Version: "535.261.03", ModuleType: "proprietary", Digest: digestOf('d')},
		Build:  BuildInfo{Builder: "0.1.0", Compiler: "gcc-12", InstallerFlags: []string{"--silent", "--kernel-name=6.1.192-coreos-r1"}, SignedBy: "sha256:0b0e9d3f"},
		// A check with each of its parts, the pleasant ones first.
		Modules:    entries,
		Indexes:    []File{index},
		Exports:    exports,
		Firmware:   firmware(t),
		Checks:     append(Gate(mods, target, expected(t)), Check{Name: "firmware", Kind: PolicyCheck, Verdict: NotCheckable, Detail: "<none> & nothing"}),
		Overridden: []string{},
	}
}

// firmware describes the recorded driver's, which is in testdata under another
// name.
func firmware(t testing.TB) []File {
	t.Helper()
	list, _, err := DescribeFirmware(map[string]string{"nvidia/" + version + "/gsp_ga10x.bin": firmwareFile})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// firmwareFile serves as firmware, which is any bytes to us.
var firmwareFile = filepath.Join("testdata", "ko", "modules.dep")

func digestOf(digit byte) string {
	return "sha256:" + strings.Repeat(string(digit), 64)
}

func TestManifestGolden(t *testing.T) {
	got, err := manifest(t, driver(t)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	testkit.Golden(t, "manifest.json", got)
}

func TestManifestIsTheSameHoweverModulesCome(t *testing.T) {
	mods := driver(t)
	want, err := manifest(t, mods).Encode()
	if err != nil {
		t.Fatal(err)
	}
	slices.Reverse(mods)
	got, err := manifest(t, mods).Encode()
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), string(got)); diff != "" {
		t.Error(diff)
	}
}

func TestManifestReadsBack(t *testing.T) {
	want := manifest(t, driver(t))
	text, err := want.Encode()
	if err != nil {
		t.Fatal(err)
	}
	got, err := ParseManifest(bytes.NewReader(text))
	if err != nil {
		t.Fatal(err)
	}
	want.Schema = SchemaVersion
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestEntriesSayWhatIsNeeded(t *testing.T) {
	entries, err := Entries(driver(t), target(t))
	if err != nil {
		t.Fatal(err)
	}
	type need struct {
		Name             string
		Siblings, InTree []string
	}
	var got []need
	for _, e := range entries {
		got = append(got, need{e.Name, e.Siblings, e.InTree})
	}
	want := []need{
		{"nvidia", []string{}, []string{}},
		{"nvidia_modeset", []string{"nvidia"}, []string{"video"}},
		{"nvidia_drm", []string{"nvidia_modeset"}, []string{"drm", "drm_kms_helper"}},
		{"nvidia_uvm", []string{"nvidia"}, []string{}},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

// TestEntriesSayWhatIsAssumed hides the kernel's own modules but one: what the
// others would export is not there, and modpost could not write it into
// depends: either.
func TestEntriesSayWhatIsAssumed(t *testing.T) {
	target := target(t)
	target.Exports.Complete = false
	target.Exports.Symbols = slices.DeleteFunc(slices.Clone(target.Exports.Symbols), func(s kernel.Symbol) bool {
		return strings.HasPrefix(s.Module, "drm") || s.Name == "_printk"
	})
	mods := driver(t)
	for i := range mods {
		mods[i].Depends = nil
	}
	entries, err := Entries(mods, target)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(entries, func(e Entry) bool { return e.Name == "nvidia_drm" })
	drm := entries[i]
	if len(drm.Assumed) == 0 || !slices.Contains(drm.InTree, "drm") {
		t.Fatalf("nvidia_drm is assumed to need %+v, first %v", drm.Assumed, drm.InTree)
	}
	for _, a := range drm.Assumed {
		want := "drm"
		switch {
		case a.Symbol == "_printk":
			want = ""
		case strings.HasPrefix(a.Symbol, "drm_atomic_helper_"), strings.HasPrefix(a.Symbol, "drm_kms_helper_"):
			want = "drm_kms_helper"
		}
		if a.Module != want {
			t.Errorf("%s is assumed to be of %q, want %q", a.Symbol, a.Module, want)
		}
	}
	target.Exports.Complete = true
	if entries, err = Entries(mods, target); err != nil || len(entries[i].Assumed) > 0 {
		t.Errorf("where all exporters are known %+v is assumed (%v)", entries[i].Assumed, err)
	}
}

func compileSchema(t testing.TB) *jsonschema.Schema {
	t.Helper()
	doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(Schema()))
	if err != nil {
		t.Fatal(err)
	}
	c := jsonschema.NewCompiler()
	c.AssertFormat()
	if err := c.AddResource("schema.json", doc); err != nil {
		t.Fatal(err)
	}
	compiled, err := c.Compile("schema.json")
	if err != nil {
		t.Fatal(err)
	}
	return compiled
}

func TestSchema(t *testing.T) {
	compiled := compileSchema(t)
	for name, c := range map[string]struct {
		change func(*Manifest)
		valid  bool
	}{
		"as it is":         {func(*Manifest) {}, true},
		"source unknown":   {func(m *Manifest) { m.Source = SourceInfo{Rung: "host"} }, true},
		"overridden":       {func(m *Manifest) { m.Overridden = []string{"vermagic"} }, true},
		"no modules":       {func(m *Manifest) { m.Modules = nil }, false},
		"odd build":        {func(m *Manifest) { m.Target.BuildID = "0x1" }, false},
		"a file elsewhere": {func(m *Manifest) { m.Modules[0].File = "../nvidia.ko" }, false},
		"odd verdict":      {func(m *Manifest) { m.Checks[0].Verdict = "maybe" }, false},
		"short digest":     {func(m *Manifest) { m.Modules[0].SHA256 = "00" }, false},
		"no release":       {func(m *Manifest) { m.Target.Release = "" }, false},
		"no firmware":      {func(m *Manifest) { m.Firmware = nil }, true},
		"firmware astray":  {func(m *Manifest) { m.Firmware[0].Name = "firmware/nvidia/../gsp.bin" }, false},
		"firmware above":   {func(m *Manifest) { m.Firmware[0].Name = "../firmware/nvidia/535.1/gsp.bin" }, false},
	} {
		t.Run(name, func(t *testing.T) {
			m := manifest(t, driver(t))
			c.change(&m)
			text, err := m.Encode()
			if err != nil {
				t.Fatal(err)
			}
			doc, err := jsonschema.UnmarshalJSON(bytes.NewReader(text))
			if err != nil {
				t.Fatal(err)
			}
			if err := compiled.Validate(doc); (err == nil) != c.valid {
				t.Errorf("valid %v, want %v: %v", err == nil, c.valid, err)
			}
		})
	}
}

// The schema's objects are the Go structs, field for field, and what the one
// may leave out the other does not require.
func TestSchemaHasTheFieldsOfTheStructs(t *testing.T) {
	var doc struct {
		Defs map[string]struct {
			Type                 string
			Required             []string
			AdditionalProperties *bool
			Properties           map[string]any
		} `json:"$defs"`
	}
	if err := json.Unmarshal(Schema(), &doc); err != nil {
		t.Fatal(err)
	}
	structs := map[string]reflect.Type{}
	collectStructs(reflect.TypeFor[Manifest](), structs)
	for name, def := range doc.Defs {
		if def.Type == "object" && structs[name] == nil {
			t.Errorf("no struct is named %s", name)
		}
	}
	for name, typ := range structs {
		def, ok := doc.Defs[name]
		if !ok {
			t.Errorf("the schema does not define %s", name)
			continue
		}
		if def.AdditionalProperties == nil || *def.AdditionalProperties {
			t.Errorf("%s: fields unknown to the schema would pass", name)
		}
		var fields, required []string
		for i := range typ.NumField() {
			field, options, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			fields = append(fields, field)
			if options != "omitempty" {
				required = append(required, field)
			}
		}
		var properties []string
		for p := range def.Properties {
			properties = append(properties, p)
		}
		if diff := cmp.Diff(sortedSet(fields), sortedSet(properties)); diff != "" {
			t.Errorf("%s, fields: %s", name, diff)
		}
		if diff := cmp.Diff(sortedSet(required), sortedSet(def.Required)); diff != "" {
			t.Errorf("%s, required: %s", name, diff)
		}
	}
}

func collectStructs(t reflect.Type, into map[string]reflect.Type) {
	switch t.Kind() {
	case reflect.Slice:
		collectStructs(t.Elem(), into)
	case reflect.Struct:
		into[t.Name()] = t
		for i := range t.NumField() {
			collectStructs(t.Field(i).Type, into)
		}
	}
}

func TestParseManifestRefuses(t *testing.T) {
	good, err := manifest(t, driver(t)).Encode()
	if err != nil {
		t.Fatal(err)
	}
	replace := func(old, new string) string { return strings.Replace(string(good), old, new, 1) }
	for name, c := range map[string]struct{ text, want string }{
		"nothing":            {"", "not a manifest"},
		"half":               {string(good[:len(good)/2]), "not a manifest"},
		"a later schema":     {replace(`"schema": 2`, `"schema": 3`), "schema 3, and this builder reads 2"},
		"a list":             {"[]", "not a manifest"},
		"another's":          {`{"schema": 2, "part": "compute", "files": []}`, "lists no modules"},
		"a file above":       {replace(`"file": "nvidia.ko"`, `"file": "../nvidia.ko"`), "not one of its folder"},
		"the folder itself":  {replace(`"file": "nvidia.ko"`, `"file": "."`), "not one of its folder"},
		"no file":            {replace(`"file": "nvidia.ko"`, `"file": ""`), "not one of its folder"},
		"firmware above":     {replace(`firmware/nvidia/535.261.03/gsp_ga10x.bin`, `firmware/nvidia/../../gsp_ga10x.bin`), "not one of its folder"},
		"firmware beside":    {replace(`firmware/nvidia/535.261.03/gsp_ga10x.bin`, `gsp_ga10x.bin`), "not one of its folder"},
		"module as firmware": {replace(`"file": "nvidia.ko"`, `"file": "firmware/nvidia/535.261.03/nvidia.ko"`), "not one of its folder"},
		"too much":           {strings.Repeat(" ", maxManifest+1), "more than 16 MiB"},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := ParseManifest(strings.NewReader(c.text))
			if err == nil || !strings.Contains(err.Error(), c.want) {
				t.Errorf("error %v, want %q", err, c.want)
			}
		})
	}
}

func FuzzParseManifest(f *testing.F) {
	golden, err := os.ReadFile(filepath.Join("testdata", "manifest.json"))
	if err != nil {
		f.Fatal(err)
	}
	f.Add(golden)
	f.Add([]byte(`{"schema":2,"modules":[{"file":"a.ko"}],"exports":{"file":"e"}}`))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ParseManifest(bytes.NewReader(data))
		if err != nil {
			return
		}
		for _, e := range m.Modules {
			if e.File != filepath.Base(e.File) || strings.HasPrefix(e.File, ".") {
				t.Errorf("a file %q outside of the folder", e.File)
			}
		}
		text, err := m.Encode()
		if err != nil {
			t.Fatal(err)
		}
		if _, err := ParseManifest(bytes.NewReader(text)); err != nil {
			t.Errorf("its own encoding is refused: %v", err)
		}
	})
}
