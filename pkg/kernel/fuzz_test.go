package kernel

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/internal/testkit"
)

// addRecorded seeds a target with the files under testdata that pattern names.
func addRecorded(f *testing.F, pattern string) {
	f.Helper()
	paths, err := filepath.Glob(filepath.Join("testdata", pattern))
	if err != nil || len(paths) == 0 {
		f.Fatal(pattern, err)
	}
	for _, path := range paths {
		f.Add(readTestdata(f, strings.TrimPrefix(path, "testdata/")))
	}
}

func FuzzParseRelease(f *testing.F) {
	for _, s := range []string{"4.7.3-coreos-r2", "3.17.2+", "6.12.103-flatcar", "6.1.0-49-amd64", "5.10.0-rc3", "6.12~rc6-amd64", "../.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRelease(s)
		if err != nil {
			return
		}
		if r.Full != s || !strings.HasPrefix(s, r.Version) {
			t.Errorf("%q became %+v", s, r)
		}
		// Releases name folders under the share.
		if !filepath.IsLocal(s) || strings.ContainsAny(s, "/ \n\x00") {
			t.Errorf("%q is not safe as a file name", s)
		}
	})
}

func FuzzParseCompiler(f *testing.F) {
	for _, s := range []string{
		"gcc-12 (Debian 12.2.0-14+deb12u1) 12.2.0, GNU ld (GNU Binutils for Debian) 2.40",
		"gcc version 8.3.0 (Gentoo Hardened 8.3.0-r1 p1.1)",
		"Ubuntu clang version 14.0.0-1ubuntu1, Ubuntu LLD 14.0.0", "(((", "gcc )",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		c, err := ParseCompiler(s)
		if err == nil && (c.Version == "" || c.Name != "gcc" && c.Name != "clang" || c.Banner != s) {
			t.Errorf("%q became %+v", s, c)
		}
		if v, err := parseBanner("Linux version " + s); err == nil && !strings.Contains(s, v.compiler) {
			t.Errorf("%q became %+v", s, v)
		}
	})
}

func FuzzParseConfig(f *testing.F) {
	addRecorded(f, "rootfs-*/proc/config.gz")
	addRecorded(f, "rootfs-*/boot/config-*")
	f.Add([]byte(smallConfig))
	f.Add(gzipped(f, smallConfig))
	f.Add([]byte{0x1f, 0x8b})
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := ParseConfig(data)
		if err != nil {
			return
		}
		again, err := ParseConfig(c.Text)
		if err != nil || again.Digest != c.Digest {
			t.Errorf("its own text reads as %+v, %v", again, err)
		}
		if len(c.Text) > configLimit {
			t.Errorf("%d bytes", len(c.Text))
		}
	})
}

// textMemory is what a text with a symbol a line may take in bytes: a line of
// some twenty becomes a Symbol of a hundred, in a slice that grows, and strings.
func textMemory(data []byte) uint64 { return uint64(1<<20 + 200*len(data)) }

func FuzzParseKallsyms(f *testing.F) {
	addRecorded(f, "rootfs-*/proc/kallsyms")
	f.Add([]byte("ffffffff82000000 R __start___ksymtab\nffffffff82000000 r __ksymtab_a\nffffffff82000010 R __stop___ksymtab\n"))
	f.Add([]byte("0 r __ksymtab_b\t[drm]\n0 r __ksymtab_b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var k kallsyms
		var err error
		if taken := testkit.Allocated(func() { k, err = parseKallsyms(bytes.NewReader(data)) }); taken > textMemory(data) {
			t.Errorf("%d bytes taken for %d bytes", taken, len(data))
		}
		if err != nil {
			return
		}
		tables := func(string) moduleTables { return moduleTables{} }
		symbols := append(k.kernelSymbols(), k.moduleSymbols(nil, tables)...)
		checkSymvers(t, symbols)
		captured, err := (&recorder{root: &Root{}}).withoutAddresses(data)
		if err != nil {
			t.Fatal(err)
		}
		k, err = parseKallsyms(bytes.NewReader(captured))
		if err != nil {
			t.Fatalf("a capture of it: %v:\n%s", err, captured)
		}
		if diff := cmp.Diff(symbols, append(k.kernelSymbols(), k.moduleSymbols(nil, tables)...)); diff != "" {
			t.Errorf("-host +capture:\n%s", diff)
		}
	})
}

func FuzzParseSymvers(f *testing.F) {
	addRecorded(f, "rootfs-*/lib/modules/*/build/Module.symvers")
	f.Add([]byte("0x4c9d28b0\tphys_base\tvmlinux\tEXPORT_SYMBOL\t\n0x1\tcxl_a\tdrivers/cxl/core/cxl_core\tEXPORT_SYMBOL_GPL\tCXL\n"))
	f.Add([]byte("0x4c9d28b0\tphys_base\t\tvmlinux\tEXPORT_SYMBOL\n"))
	f.Add([]byte("0x4c9d28b0\tphys_base\tvmlinux\tEXPORT_UNUSED_SYMBOL_GPL\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		var symbols []Symbol
		var err error
		if taken := testkit.Allocated(func() { symbols, err = ParseSymvers(bytes.NewReader(data)) }); taken > textMemory(data) {
			t.Errorf("%d bytes taken for %d bytes", taken, len(data))
		}
		if err == nil {
			checkSymvers(t, symbols)
		}
	})
}

// checkSymvers writes symbols as a Module.symvers and reads them again.
func checkSymvers(t *testing.T, symbols []Symbol) {
	t.Helper()
	var b bytes.Buffer
	if err := (Exports{Symbols: symbols}).WriteSymvers(&b, Release{Version: "6.1.0"}); err != nil {
		t.Fatal(err)
	}
	text := b.String()
	if strings.Count(text, "\n") != len(symbols) || strings.Count(text, "\t") != 4*len(symbols) {
		t.Errorf("%d symbols are not as many lines of five columns:\n%s", len(symbols), text)
	}
	again, err := ParseSymvers(&b)
	if err != nil && len(symbols) > 0 {
		t.Errorf("its own text is refused: %v", err)
	}
	for i, s := range again {
		want := symbols[i]
		want.Module = ModuleName(want.Module)
		want.NamespaceKnown, want.CRCKnown = true, true
		if want.License == LicenseUnknown {
			want.License = LicenseAny
		}
		if s != want {
			t.Errorf("%+v became %+v", want, s)
		}
	}
}

// FuzzModuleExports lists what a module exports, whatever its names are.
func FuzzModuleExports(f *testing.F) {
	addRecorded(f, "rootfs-*/lib/modules/*/kernel/*/*.ko")
	f.Add([]byte(richModule(f)))
	f.Fuzz(func(t *testing.T, data []byte) {
		m, err := ko.Parse(bytes.NewReader(data), int64(len(data)))
		if err != nil {
			return
		}
		symbols, err := exportsOf(m, "a_module")
		if err != nil {
			return
		}
		if len(symbols) != len(m.Exports) {
			t.Errorf("%d of %d exports", len(symbols), len(m.Exports))
		}
		checkSymvers(t, symbols)
	})
}

func FuzzLoadedModules(f *testing.F) {
	addRecorded(f, "rootfs-*/proc/modules")
	f.Add([]byte("drm 4 0 - Loading 0xffffffffc0001000 (OE+)\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		foreign, captured := parseForeign(data), withoutLoadAddresses(data)
		if diff := cmp.Diff(foreign, parseForeign(captured)); diff != "" {
			t.Errorf("-host +capture:\n%s", diff)
		}
		if again := withoutLoadAddresses(captured); !bytes.Equal(again, captured) {
			t.Errorf("%q became %q", captured, again)
		}
	})
}

func FuzzParseOSRelease(f *testing.F) {
	addRecorded(f, "rootfs-*/etc/os-release")
	addRecorded(f, "rootfs-*/usr/lib/os-release")
	f.Fuzz(func(t *testing.T, data []byte) {
		d := ParseOSRelease(data)
		if n := len(d.ID) + len(d.VersionID) + len(d.PrettyName); n > 3*len(data) {
			t.Errorf("%d bytes out of %d", n, len(data))
		}
		if strings.Contains(d.ID+d.VersionID+d.PrettyName, "\n") {
			t.Errorf("%+v is of more than one line", d)
		}
	})
}
