package partial

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestLeaveOut(t *testing.T) {
	t.Parallel()
	spare := func(path string) bool { return strings.HasPrefix(path, "include/netfilter/") }
	for name, test := range map[string]struct {
		paths, out, kept string
		err              *FoldsError
	}{
		"none":               {paths: "Makefile include/a.h", kept: "Makefile include/a.h"},
		"spared":             {paths: "include/netfilter/xt_MARK.h include/netfilter/xt_mark.h include/a.h", out: "include/netfilter/xt_MARK.h include/netfilter/xt_mark.h", kept: "include/a.h"},
		"needed":             {paths: "include/A.h include/a.h", err: &FoldsError{"include/A.h", "include/a.h"}},
		"one of them needed": {paths: "include/NetFilter/xt.h include/netfilter/xt.h", err: &FoldsError{"include/NetFilter/xt.h", "include/netfilter/xt.h"}},
		"not wanted":         {paths: "-net/xt_MARK.c -net/xt_mark.c Makefile", kept: "Makefile"},
		"by folder":          {paths: "Docs/a.h docs/b.h", kept: "Docs/a.h docs/b.h"},
	} {
		t.Run(name, func(t *testing.T) {
			var files []*file
			for path := range strings.FieldsSeq(test.paths) {
				path, unwanted := strings.CutPrefix(path, "-")
				files = append(files, &file{path: path, wanted: !unwanted})
			}
			out, err := leaveOut(files, spare)
			var folds *FoldsError
			if errors.As(err, &folds); (folds == nil) != (test.err == nil) || folds != nil && *folds != *test.err {
				t.Fatalf("error is %v, want %v", err, test.err)
			}
			if diff := cmp.Diff(test.out, strings.Join(out, " ")); err == nil && diff != "" {
				t.Errorf("left out (-want +got):\n%s", diff)
			}
			var kept []string
			for _, f := range files {
				if f.wanted {
					kept = append(kept, f.path)
				}
			}
			if diff := cmp.Diff(test.kept, strings.Join(kept, " ")); err == nil && diff != "" {
				t.Errorf("kept (-want +got):\n%s", diff)
			}
		})
	}
}
