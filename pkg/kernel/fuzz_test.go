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
		if v, err := parseProcVersion("Linux version " + s); err == nil && !strings.Contains(s, v.banner) {
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
		x, err := ParseKallsyms(bytes.NewReader(data))
		if err != nil {
			return
		}
		var b bytes.Buffer
		if err := x.WriteSymvers(&b, Release{Version: "6.1.0"}); err != nil {
			t.Fatal(err)
		}
		lines := strings.Split(strings.TrimSuffix(b.String(), "\n"), "\n")
		if len(lines) != len(x.Symbols) {
			t.Errorf("%d symbols in %d lines", len(x.Symbols), len(lines))
		}
		for _, line := range lines {
			if strings.Count(line, "\t") != 4 {
				t.Errorf("%q does not have five columns", line)
			}
		}
	})
}
