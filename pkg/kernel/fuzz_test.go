package kernel

import (
	"bytes"
	"path/filepath"
	"strings"
	"testing"
)

func FuzzParseRelease(f *testing.F) {
	for _, s := range []string{"4.7.3-coreos-r2", "3.17.2+", "6.12.103-flatcar", "6.1.0-49-amd64", "5.10.0-rc3", "6.12~rc6-amd64", "../.."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseRelease(s)
		if err != nil {
			return
		}
		if r.Full != s || !strings.HasPrefix(s, r.Version) || r.Compare(r) != 0 {
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
	})
}

func FuzzParseKallsyms(f *testing.F) {
	f.Add([]byte("ffffffff82000000 R __start___ksymtab\nffffffff82000000 r __ksymtab_a\nffffffff82000010 R __stop___ksymtab\n"))
	f.Add([]byte("0 r __ksymtab_b\t[drm]\n0 r __ksymtab_b\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		k, err := parseKallsyms(bytes.NewReader(data))
		if err != nil {
			return
		}
		tables := func(string) moduleTables { return moduleTables{} }
		checkSymvers(t, append(k.kernelSymbols(), k.moduleSymbols(nil, tables)...))
	})
}

func FuzzParseSymvers(f *testing.F) {
	f.Add([]byte("0x4c9d28b0\tphys_base\tvmlinux\tEXPORT_SYMBOL\t\n0x1\tcxl_a\tdrivers/cxl/core/cxl_core\tEXPORT_SYMBOL_GPL\tCXL\n"))
	f.Add([]byte("0x4c9d28b0\tphys_base\t\tvmlinux\tEXPORT_SYMBOL\n"))
	f.Add([]byte("0x4c9d28b0\tphys_base\tvmlinux\tEXPORT_UNUSED_SYMBOL_GPL\n"))
	f.Fuzz(func(t *testing.T, data []byte) {
		if symbols, err := ParseSymvers(bytes.NewReader(data)); err == nil {
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
	if _, err := ParseSymvers(&b); err != nil && len(symbols) > 0 {
		t.Errorf("its own text is refused: %v", err)
	}
}
