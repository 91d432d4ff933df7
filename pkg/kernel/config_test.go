package kernel

import (
	"bytes"
	"compress/gzip"
	"strings"
	"testing"
)

const smallConfig = `#
# Automatically generated file; DO NOT EDIT.
# Linux/x86 6.1.174 Kernel Configuration
#
CONFIG_MODULES=y
# CONFIG_MODVERSIONS is not set
CONFIG_DRM=m
CONFIG_NR_CPUS=512
CONFIG_LOCALVERSION="-a \"b\""
CONFIG_DRM_KMS_HELPER=m
# CONFIG_DRM_KMS_HELPER is not set
`

func TestConfigGet(t *testing.T) {
	t.Parallel()
	c, err := ParseConfig([]byte(smallConfig))
	if err != nil {
		t.Fatal(err)
	}
	for _, o := range []struct {
		name, value string
		ok          bool
	}{
		{"MODULES", "y", true},
		{"MODVERSIONS", "", false},
		{"DRM", "m", true},
		{"NR_CPUS", "512", true},
		{"LOCALVERSION", `-a "b"`, true},
		{"DRM_KMS_HELPER", "", false},
		{"MOD", "", false},
	} {
		if value, ok := c.Get(o.name); value != o.value || ok != o.ok {
			t.Errorf("%s: %q, %v", o.name, value, ok)
		}
	}
	if !c.Bool("MODULES") || c.Bool("DRM") || c.Bool("MODVERSIONS") {
		t.Error("Bool is built in, neither a module nor off")
	}
	if !c.Has("MODULES") || !c.Has("DRM") || c.Has("MODVERSIONS") || c.Has("DRM_KMS_HELPER") || c.Has("NR_CPUS") {
		t.Error("Has is built in or a module, not off")
	}
	if c.Version != "6.1.174" {
		t.Errorf("version %q", c.Version)
	}
}

func TestConfigDigest(t *testing.T) {
	t.Parallel()
	plain, err := ParseConfig([]byte(smallConfig))
	if err != nil {
		t.Fatal(err)
	}
	packed, err := ParseConfig(gzipped(t, smallConfig+"# Mon Nov 23\n"))
	if err != nil {
		t.Fatal(err)
	}
	if plain.Digest != packed.Digest {
		t.Error("compression and a comment change the digest")
	}
	other, err := ParseConfig([]byte(strings.Replace(smallConfig, "DRM=m", "DRM=y", 1)))
	if err != nil {
		t.Fatal(err)
	}
	if plain.Digest == other.Digest {
		t.Error("another option has the same digest")
	}
	if !strings.HasPrefix(plain.Digest, "sha256:") || len(plain.Digest) != len("sha256:")+64 {
		t.Errorf("digest %q", plain.Digest)
	}
}

func TestParseConfigRefuses(t *testing.T) {
	t.Parallel()
	for name, data := range map[string][]byte{
		"empty":          nil,
		"comments only":  []byte("# Linux/x86 6.1.174 Kernel Configuration\n"),
		"text":           []byte("CONFIG_X=y\nhello\n"),
		"binary":         []byte("\x7fELF\x02\x01\x01\x00"),
		"truncated gzip": gzipped(t, smallConfig)[:60],
		"gzip header":    {0x1f, 0x8b},
		"gzip bomb":      gzipped(t, strings.Repeat("#\n", configLimit)),
		"too large":      bytes.Repeat([]byte("#\n"), configLimit),
	} {
		if _, err := ParseConfig(data); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

func TestConfigMatches(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		version, release string
		want             bool
	}{
		{"6.1.174", "6.1.174", true},
		{"6.1.174", "6.1.174-coreos-r1", true},
		{"4.19.25-coreos", "4.19.25-coreos-r1", true},
		{"6.1.174", "6.1.0-49-amd64", true}, // Debian's ABI name
		{"6.1.174", "6.1.0", false},
		{"6.1.174", "6.1.175-coreos", false},
		{"6.12.0", "6.1.0-49-amd64", false},
		{"", "6.1.0", true},
	} {
		if got := (Config{Version: c.version}).matches(mustRelease(t, c.release)); got != c.want {
			t.Errorf("config of %q, kernel %s: %v", c.version, c.release, got)
		}
	}
}

func gzipped(t testing.TB, text string) []byte {
	t.Helper()
	var b bytes.Buffer
	z := gzip.NewWriter(&b)
	if _, err := z.Write([]byte(text)); err != nil {
		t.Fatal(err)
	}
	if err := z.Close(); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}
