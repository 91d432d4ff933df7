package modules

import (
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/share/publish"
)

// signs makes signatures that anybody can read, and trusts takes those of a name.
func signs(name string) publish.Sign {
	return func(text []byte) ([]byte, error) { return []byte(name + string(text)), nil }
}

func trusts(name string) publish.Trust {
	return func(text, signature []byte) error {
		if string(signature) != name+string(text) {
			return publish.Untrusted("not by %s", name)
		}
		return nil
	}
}

// TestFindWhatIsSigned finds nothing that is not, whoever asks.
func TestFindWhatIsSigned(t *testing.T) {
	s, o := shelf(t)
	mustPublish(t, o)
	var untrusted *publish.UntrustedError
	if _, err := Find(s, release, version, trusts("me")); !errors.As(err, &untrusted) || !strings.Contains(err.Error(), "no manifest.json.p7s") {
		t.Errorf("error %v", err)
	}
	s, o = shelf(t)
	o.Sign = signs("me")
	path := mustPublish(t, o)
	found, err := Find(s, release, version, trusts("me"))
	if err != nil || found.Path() != path {
		t.Fatalf("found %s, %v", found.Path(), err)
	}
	if _, err := Find(s, release, version, trusts("another")); !errors.As(err, &untrusted) {
		t.Errorf("error %v", err)
	}
	// What nobody vouches for is not even read: it is no manifest.
	if err := os.WriteFile(path, []byte("junk"), 0o644); err != nil {
		t.Fatal(err)
	}
	if _, err := Find(s, release, version, trusts("me")); !errors.As(err, &untrusted) {
		t.Errorf("error %v", err)
	}
}

// TestRepublish signs what is there: the same files, which take no space again.
func TestRepublish(t *testing.T) {
	s, o := shelf(t)
	path := mustPublish(t, o)
	text, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"me", "another"} {
		before, err := Find(s, release, version, nil)
		if err != nil {
			t.Fatal(err)
		}
		was, err := os.Stat(filepath.Join(before.Dir, "nvidia.ko"))
		if err != nil {
			t.Fatal(err)
		}
		if err := Republish(t.Context(), s, scratchOf(t, s), before, signs(name)); err != nil {
			t.Fatal(err)
		}
		after, err := Find(s, release, version, trusts(name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(before.Manifest, after.Manifest); diff != "" || after.Dir == before.Dir {
			t.Errorf("it is in %s: %s", after.Dir, diff)
		}
		if is, err := os.Stat(filepath.Join(after.Dir, "nvidia.ko")); err != nil || !os.SameFile(was, is) {
			t.Errorf("the module is another file: %v", err)
		}
		if now, err := os.ReadFile(path); err != nil || string(now) != string(text) {
			t.Errorf("the manifest is %q, %v", now, err)
		}
		if got := entriesOf(t, s); len(got) != 2 {
			t.Errorf("there are %q", got)
		}
	}
	// A file that was changed since is not what the manifest says.
	found, err := Find(s, release, version, nil)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(found.Dir, "nvidia.ko"), []byte("evil"), 0o644); err != nil {
		t.Fatal(err)
	}
	failure(t, Republish(t.Context(), s, scratchOf(t, s), found, signs("me")), 16, "could not be signed", "nvidia.ko changed after it was checked")
	if now, err := os.ReadFile(path + ".p7s"); err != nil || !strings.HasPrefix(string(now), "another") {
		t.Errorf("what was published is gone: %.20q, %v", now, err)
	}
}

// TestVerifyTrust has who signed be the first finding, and all others be made.
func TestVerifyTrust(t *testing.T) {
	s, o := shelf(t)
	o.Sign = signs("me")
	mustPublish(t, o)
	without, err := Verify(led(t, s), target(t), nil, nil)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]Check{
		"me":      {Name: "trusted", Kind: PolicyCheck, Verdict: Passed},
		"another": {Name: "trusted", Kind: PolicyCheck, Verdict: Failed, Detail: "manifest.json.p7s: not by another"},
	} {
		got, err := Verify(led(t, s), target(t), nil, trusts(name))
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(append([]Check{want}, without...), got); diff != "" {
			t.Errorf("%s: %s", name, diff)
		}
	}
	_, err = Verify(t.TempDir(), target(t), nil, trusts("me"))
	failure(t, err, 15, "holds no manifest.json")
}
