package lab

import (
	"errors"
	"io"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestPartIsMadeOnceARecipe(t *testing.T) {
	l := &Lab{cache: t.TempDir(), progress: io.Discard}
	made := 0
	get := func(recipe string) string {
		dir, err := l.part(t.Context(), "thing", recipe, func(dir string) error {
			made++
			return os.WriteFile(filepath.Join(dir, "file"), []byte(recipe), 0o644)
		})
		if err != nil {
			t.Fatal(err)
		}
		content, err := os.ReadFile(filepath.Join(dir, "file"))
		if err != nil || string(content) != recipe {
			t.Errorf("the part holds %q, %v, want %q", content, err, recipe)
		}
		return dir
	}
	first := get("one")
	if again := get("one"); again != first || made != 1 {
		t.Errorf("made %d times, in %s and %s; want once", made, first, again)
	}
	get("two")
	if get("one"); made != 2 {
		t.Error("the part of another checkout is gone")
	}
	longAgo := time.Now().Add(-2 * keep)
	if err := os.Chtimes(first, longAgo, longAgo); err != nil {
		t.Fatal(err)
	}
	get("three")
	if _, err := os.Stat(first); !errors.Is(err, os.ErrNotExist) {
		t.Error("a part that nobody has used for long is still there")
	}
}

func TestFailedPartLeavesNothing(t *testing.T) {
	l := &Lab{cache: t.TempDir(), progress: io.Discard}
	cause := errors.New("no")
	if _, err := l.part(t.Context(), "thing", "", func(string) error { return cause }); !errors.Is(err, cause) {
		t.Errorf("error %v, want %v", err, cause)
	}
	if left, _ := filepath.Glob(filepath.Join(l.cache, "thing*")); len(left) > 0 {
		t.Errorf("left: %v", left)
	}
}

func TestEditConfig(t *testing.T) {
	in := "CONFIG_LOCALVERSION=\"\"\nCONFIG_MODVERSIONS=y\n# CONFIG_IKCONFIG is not set\nCONFIG_SMP=y\n# CONFIG_MODVERSIONS_X is not set\n"
	want := `CONFIG_SMP=y
# CONFIG_MODVERSIONS_X is not set
# CONFIG_ASM_MODVERSIONS is not set
CONFIG_IKCONFIG=y
CONFIG_IKCONFIG_PROC=y
CONFIG_LOCALVERSION="-coreos-r1"
CONFIG_MODULE_SIG_ALL=y
# CONFIG_MODULE_SIG_FORCE is not set
CONFIG_MODULE_SIG_KEY="certs/signing_key.pem"
# CONFIG_MODVERSIONS is not set
`
	got := string(editConfig([]byte(in), "6.1.1-coreos-r1"))
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("config (-want +got):\n%s", diff)
	}
}
