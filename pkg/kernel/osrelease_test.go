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
		{"escapes", `PRETTY_NAME="a \"b\" \\ \$c"`, Distribution{PrettyName: `a "b" \ $c`}},
		{"not one", "\x7fELF\nID\n=\n\"", Distribution{}},
		{"a lone quote", "ID=\"", Distribution{ID: `"`}},
	} {
		if got := ParseOSRelease([]byte(c.text)); got != c.want {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}
