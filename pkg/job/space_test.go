package job

import (
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel/source"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

func TestSpaceFrom(t *testing.T) {
	checkout := share.Space{Bytes: source.Size, Files: source.Files}
	for _, tt := range []struct {
		name      string
		from      stage.Name
		fetched   share.Space
		libraries share.Space
		debug     bool
		bytes     uint64
		files     uint64
		does      string
	}{
		{"all, with the source there", stage.Driver, share.Space{}, share.Space{}, false, 853333333, 11773,
			"unpacking the driver, preparing the kernel tree, compiling and publishing"},
		{"a driver that is not there", stage.Driver, share.Space{Bytes: 300e6, Files: 3}, share.Space{}, false, 1253333333, 11777,
			"downloading the driver, unpacking the driver, preparing the kernel tree, compiling and publishing"},
		{"what is left with the driver unpacked", stage.Source, checkout, share.Space{Bytes: 60e6, Files: 300}, false, 660e6, 26840,
			"fetching the kernel source, preparing the kernel tree, compiling and publishing"},
		{"with debugging information", stage.Build, share.Space{}, share.Space{}, true, 840e6, 1106, "compiling and publishing"},
		{"the same without", stage.Build, share.Space{}, share.Space{}, false, 306666666, 1106, "compiling and publishing"},
		{"the end", stage.Publish, share.Space{}, share.Space{}, false, 93333333, 40, "publishing"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			need, does := spaceFrom(tt.from, tt.fetched, tt.libraries, tt.debug)
			if want := (share.Space{Bytes: tt.bytes, Files: tt.files}); need != want || does != tt.does {
				t.Errorf("%+v for %q, want %+v for %q", need, does, want, tt.does)
			}
		})
	}
}

// TestNeedSpace has no disk have room for a source.
func TestNeedSpace(t *testing.T) {
	t.Parallel()
	f := newFixture(t)
	s, err := newSite(f.options, false)
	if err != nil {
		t.Fatal(err)
	}
	if err := s.needSpace(t.Context(), stage.Source, share.Space{Bytes: 1 << 60}, share.Space{}); stage.ExitCode(err) != 12 ||
		!strings.Contains(err.Error(), "fetching the kernel source, preparing the kernel tree, compiling and publishing needs") {
		t.Errorf("%v", err)
	}
}

func TestSpaceOfLibraries(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		libraries libraries
		choice    userspace.Choice
		want      share.Space
	}{
		{libraries{}, userspace.Choice{Bytes: 60e6}, share.Space{Bytes: 60e6, Files: 300}},
		{libraries{}, userspace.Choice{}, share.Space{}},
		{libraries{done: true}, userspace.Choice{Bytes: 60e6}, share.Space{}},
	} {
		if got := c.libraries.space(c.choice); got != c.want {
			t.Errorf("%+v of %+v: %+v, want %+v", c.libraries, c.choice, got, c.want)
		}
	}
}
