package kernel

import "testing"

func TestParseOSRelease(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name, text string
		want       Distribution
	}{
		{"bare and double quotes", "ID=flatcar\nVERSION_ID=4459.2.1\nPRETTY_NAME=\"Flatcar (Oklo)\"\n",
			Distribution{ID: "flatcar", VersionID: "4459.2.1", PrettyName: "Flatcar (Oklo)"}},
		{"single quotes, comments, other keys", "# x\nNAME=y\nID='debian'\n  VERSION_ID=\"12\"\nID_LIKE=z",
			Distribution{ID: "debian", VersionID: "12"}},
		{"CoreOS's of 2016", "NAME=CoreOS\nID=coreos\nVERSION=1185.3.0\nVERSION_ID=1185.3.0\nBUILD_ID=2016-11-01-0605\nPRETTY_NAME=\"CoreOS 1185.3.0 (MoreOS)\"\nANSI_COLOR=\"1;32\"\n",
			Distribution{ID: "coreos", VersionID: "1185.3.0", PrettyName: "CoreOS 1185.3.0 (MoreOS)"}},
		{"CoreOS's of 2020", "NAME=\"Container Linux by CoreOS\"\nID=coreos\nVERSION=2512.3.0\nVERSION_ID=2512.3.0\nPRETTY_NAME=\"Container Linux by CoreOS 2512.3.0 (Rhyolite)\"\nCOREOS_BOARD=\"amd64-usr\"\n",
			Distribution{ID: "coreos", VersionID: "2512.3.0", PrettyName: "Container Linux by CoreOS 2512.3.0 (Rhyolite)"}},
		{"escapes", `PRETTY_NAME="a \"b\" \\ \$c"`, Distribution{PrettyName: `a "b" \ $c`}},
		{"not one", "\x7fELF\nID\n=\n\"", Distribution{}},
		{"a lone quote", "ID=\"", Distribution{ID: `"`}},
	} {
		if got := ParseOSRelease([]byte(c.text)); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
