package lab

import (
	"strings"
	"testing"
)

func TestMirrorOfAptSources(t *testing.T) {
	for _, tt := range []struct {
		name, sources string
		want          mirror
	}{
		{"one line each", `# deb http://old.example/debian bookworm main
deb [signed-by=/usr/share/keyrings/x.gpg arch=amd64] https://one.example/debian/ bookworm main
deb http://two.example/debian-security bookworm-security main
deb-src http://three.example/debian bookworm main
`, mirror{"https://one.example/debian", "http://two.example/debian-security"}},
		{"deb822", `Types: deb
# http://snapshot.example/archive/debian/20250520T000000Z
URIs: http://one.example/debian
Suites: bookworm bookworm-updates

Types: deb
URIs: http://one.example/debian-security
`, mirror{"http://one.example/debian", "http://one.example/debian-security"}},
		{"another vendor's", "deb https://packages.example/apt stable main\nURIs: https://deb.example/node_20.x\n", mirror{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			var got mirror
			if err := got.read(strings.NewReader(tt.sources)); err != nil {
				t.Fatal(err)
			}
			if got != tt.want {
				t.Errorf("got %+v, want %+v", got, tt.want)
			}
		})
	}
}

func TestDigestsOfAnArchive(t *testing.T) {
	release := "Codename: trixie\nMD5Sum:\n aaaa 10 main/binary-amd64/Packages.gz\nSHA256:\n bbbb 10 main/binary-amd64/Packages\n cccc 10 main/binary-amd64/Packages.gz\n"
	if sum, err := releaseDigest([]byte(release), "main/binary-amd64/Packages.gz"); sum != "cccc" || err != nil {
		t.Errorf("digest %q, %v, want cccc", sum, err)
	}
	if _, err := releaseDigest([]byte(release), "Contents"); err == nil {
		t.Error("a file that Release does not name has a digest")
	}
	index := "Package: debootstrap-tools\nFilename: pool/x.deb\nSHA256: 11\n\nPackage: debootstrap\nFilename: pool/d.deb\nSHA256: 22\n\nPackage: deborphan\nFilename: pool/y.deb\nSHA256: 33\n"
	path, sum, err := findPackage(strings.NewReader(index), "debootstrap")
	if path != "pool/d.deb" || sum != "22" || err != nil {
		t.Errorf("found %q, %q, %v", path, sum, err)
	}
	if _, _, err := findPackage(strings.NewReader(index), "absent"); err == nil {
		t.Error("a package that is not there was found")
	}
}
