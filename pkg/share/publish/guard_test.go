package publish

import (
	"bytes"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/stage"
)

// replacement is a published folder, and another that is to take its place.
func replacement(t *testing.T) (next Folder, before []string) {
	t.Helper()
	f := shelf(t)
	publish(t, f)
	before = show(t, f.Link)
	f.Text = []byte("{\"next\": true}\n")
	f.Files = append(slices.Clone(f.Files), file(t, t.TempDir(), "usr/bin/nvidia-debugdump", "another"))
	return f, before
}

// TestPublishedStays has each step of a replacement end in an error, and then
// whatever a step relies on spoilt: the link leads to what it led to, whole, and
// nothing is left in scratch.
func TestPublishedStays(t *testing.T) {
	stop := errors.New("stop")
	change := func(text string) func(*testing.T, *Folder) {
		return func(t *testing.T, f *Folder) {
			if err := os.WriteFile(f.Files[len(f.Files)-1].From, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
	}
	// at does something to the share before a step.
	at := func(step string, do func(f *Folder) error) func(*testing.T, *Folder) {
		return func(_ *testing.T, f *Folder) {
			f.Step = func(name string) error {
				if name != step {
					return nil
				}
				return do(f)
			}
		}
	}
	fail := func(step string) func(*testing.T, *Folder) {
		return at(step, func(*Folder) error { return stop })
	}
	for name, tt := range map[string]struct {
		spoil func(t *testing.T, f *Folder)
		want  string // of the error
	}{
		"stopped at a file":            {fail("copy usr/bin/nvidia-smi"), "stop"},
		"stopped at the last file":     {fail("copy usr/bin/nvidia-debugdump"), "stop"},
		"stopped at the manifest":      {fail("manifest"), "stop"},
		"stopped before the folder":    {fail("place"), "stop"},
		"stopped before the link":      {fail("point"), "stop"},
		"a file changed since":         {change("an0ther"), "changed after it was checked"},
		"a file grew since":            {change("another and more"), "changed after it was checked"},
		"a file was cut since":         {change(""), "changed after it was checked"},
		"a folder of it is taken away": {at("manifest", func(f *Folder) error { return removeAll(f.Scratch, "publish-*/usr") }), "no such file"},
		"scratch is taken away":        {at("place", func(f *Folder) error { return removeAll(f.Scratch, "publish-*") }), "no such file"},
	} {
		t.Run(name, func(t *testing.T) {
			f, before := replacement(t)
			target, err := os.Readlink(f.Link)
			if err != nil {
				t.Fatal(err)
			}
			tt.spoil(t, &f)
			if err := f.Publish(t.Context()); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("error %v, want %q", err, tt.want)
			}
			if now, err := os.Readlink(f.Link); err != nil || now != target {
				t.Errorf("the link leads to %s, %v, and led to %s", now, err, target)
			}
			if diff := cmp.Diff(before, show(t, f.Link)); diff != "" {
				t.Error(diff)
			}
			if left, err := os.ReadDir(f.Scratch); err != nil || len(left) != 0 {
				t.Errorf("scratch holds %v, %v", left, err)
			}
			f.Step = nil
			if err := os.WriteFile(f.Files[len(f.Files)-1].From, []byte("another"), 0o644); err != nil {
				t.Fatal(err)
			}
			publish(t, f)
			if got := show(t, f.Link); len(got) != len(before)+1 {
				t.Errorf("the next time %q was published", got)
			}
		})
	}
}

func removeAll(dir, pattern string) error {
	paths, err := filepath.Glob(filepath.Join(dir, pattern))
	if err == nil && len(paths) != 1 {
		err = errors.New("what is to be spoilt is not there")
	}
	for _, path := range paths {
		err = errors.Join(err, os.RemoveAll(path))
	}
	return err
}

// TestPublishOverALinkThatBecameAFolder: somebody's folder is not led away from.
func TestPublishOverALinkThatBecameAFolder(t *testing.T) {
	f, _ := replacement(t)
	mine := filepath.Join(f.Link, "mine")
	f.Step = func(name string) error {
		if name != "point" {
			return nil
		}
		return errors.Join(os.Remove(f.Link), os.MkdirAll(mine, 0o755))
	}
	if err := f.Publish(t.Context()); !errors.Is(err, unix.EISDIR) {
		t.Errorf("error %v", err)
	}
	if _, err := os.Stat(mine); err != nil {
		t.Error(err)
	}
}

// TestPublishAgain changes nothing that others can see.
func TestPublishAgain(t *testing.T) {
	f := shelf(t)
	publish(t, f)
	f.Step = func(name string) error { t.Errorf("step %s", name); return nil }
	publish(t, f)
}

// TestSweepThatFails is told, and fails no result that stands.
func TestSweepThatFails(t *testing.T) {
	for name, tt := range map[string]struct {
		err  error
		want int // warnings
	}{"swept": {nil, 0}, "not swept": {errors.New("busy"), 1}} {
		t.Run(name, func(t *testing.T) {
			f, before := replacement(t)
			f.Step = func(name string) error {
				if strings.HasPrefix(name, "remove ") {
					return tt.err
				}
				return nil
			}
			var log bytes.Buffer
			if err := f.Publish(zerolog.New(&log).WithContext(t.Context())); err != nil {
				t.Fatal(err)
			}
			if n := strings.Count(log.String(), "an earlier result could not be removed"); n != tt.want {
				t.Errorf("%d warnings: %s", n, &log)
			}
			if got := show(t, f.Link); len(got) != len(before)+1 {
				t.Errorf("published %q", got)
			}
		})
	}
}

// TestSweepAtOnce: what goes has lost its name before anything in it is removed, and
// what stops there is in scratch, which the next run clears.
func TestSweepAtOnce(t *testing.T) {
	f, _ := replacement(t)
	old := led(t, f.Link)
	emptied := false
	f.Step = func(name string) error {
		if name != "empty "+filepath.Base(old) {
			return nil
		}
		emptied = true
		if _, err := os.Lstat(old); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("%s is there still: %v", old, err)
		}
		if len(show(t, filepath.Join(f.Scratch, filepath.Base(old)))) < 2 {
			t.Error("it was emptied before")
		}
		return errors.New("stop")
	}
	if err := f.Publish(t.Context()); err != nil {
		t.Fatal(err)
	}
	if !emptied {
		t.Error("nothing was removed")
	}
}

// TestNameOfDamage: a part of a folder has no right to the name of the whole, unless
// a link leads to it.
func TestNameOfDamage(t *testing.T) {
	f := shelf(t)
	publish(t, f)
	want := led(t, f.Link)
	if err := errors.Join(os.Remove(f.Link), os.RemoveAll(filepath.Join(want, "usr/bin"))); err != nil {
		t.Fatal(err)
	}
	publish(t, f)
	if got := led(t, f.Link); got != want {
		t.Errorf("published as %s, want %s", got, want)
	}
	if err := os.RemoveAll(filepath.Join(want, "usr/bin")); err != nil {
		t.Fatal(err)
	}
	publish(t, f)
	if got := led(t, f.Link); got != want+".1" {
		t.Errorf("published as %s, want %s.1", got, want)
	}
	if left, err := os.ReadDir(filepath.Dir(f.Link)); err != nil || len(left) != 2 {
		t.Errorf("beside the link are %v, %v", left, err)
	}
}

// TestSweepAlone removes what was replaced where nothing is published, and nothing
// where nothing ever was.
func TestSweepAlone(t *testing.T) {
	f := shelf(t)
	Sweep(t.Context(), f.Scratch, f.Link)
	if _, err := os.Lstat(filepath.Dir(f.Link)); !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("error %v", err)
	}
	publish(t, f)
	before := show(t, f.Link)
	for _, name := range []string{".1.0-00000000000a", ".535-00000000000a", ".535-00000000000b/usr"} {
		if err := os.MkdirAll(filepath.Join(filepath.Dir(f.Link), name), 0o755); err != nil {
			t.Fatal(err)
		}
	}
	var log bytes.Buffer
	ctx := zerolog.New(&log).Level(zerolog.InfoLevel).WithContext(t.Context())
	Sweep(ctx, f.Scratch, f.Link)
	left, err := os.ReadDir(filepath.Dir(f.Link))
	if err != nil || len(left) != 3 { // the link, what it leads to, and another link's
		t.Errorf("beside the link are %v, %v", left, err)
	}
	if diff := cmp.Diff(before, show(t, f.Link)); diff != "" || log.Len() > 0 {
		t.Errorf("%s %s", diff, &log)
	}
	if err := os.Mkdir(filepath.Join(filepath.Dir(f.Link), ".535-00000000000a"), 0o755); err != nil {
		t.Fatal(err)
	}
	Sweep(ctx, filepath.Join(f.Scratch, "absent"), f.Link)
	if !strings.Contains(log.String(), "an earlier result could not be removed") {
		t.Errorf("it is not told: %s", &log)
	}
}

func TestLinkable(t *testing.T) {
	dir := t.TempDir()
	for path, make := range map[string]func(string) error{
		"link":   func(p string) error { return os.Symlink("elsewhere", p) },
		"folder": func(p string) error { return os.Mkdir(p, 0o755) },
		"file":   func(p string) error { return os.WriteFile(p, nil, 0o644) },
	} {
		if err := make(filepath.Join(dir, path)); err != nil {
			t.Fatal(err)
		}
	}
	for path, want := range map[string]string{
		"link": "", "absent": "", "absent/absent": "",
		"folder": "is not a link that builder made", "file": "is not a link that builder made", "file/below": "not a directory",
	} {
		err := Linkable(filepath.Join(dir, path))
		if want == "" && err != nil || want != "" && (err == nil || !strings.Contains(err.Error(), want)) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
}

func TestReady(t *testing.T) {
	f := shelf(t)
	if err := Ready(f.Share, f.Scratch, f.Link); err != nil {
		t.Error(err)
	}
	if left, err := os.ReadDir(f.Scratch); err != nil || len(left) != 0 {
		t.Errorf("scratch holds %v, %v", left, err)
	}
	if err := Ready(f.Share, filepath.Join(f.Scratch, "absent"), f.Link); stage.ExitCode(err) != 16 || !strings.Contains(err.Error(), "has no symbolic links") {
		t.Errorf("error %v", err)
	}
	away := filepath.Join(filepath.Dir(f.Scratch), "away")
	if err := os.Symlink(f.Scratch, away); err != nil {
		t.Fatal(err)
	}
	if err := Ready(f.Share, away, f.Link); stage.ExitCode(err) != 16 || !strings.Contains(err.Error(), "there is a link where builder has") {
		t.Errorf("in place of the scratch a link: %v", err)
	}
	if err := os.MkdirAll(f.Link, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := Ready(f.Share, f.Scratch, f.Link); stage.ExitCode(err) != 16 || !strings.Contains(err.Error(), "is not a link") {
		t.Errorf("error %v", err)
	}
}

func TestExplain(t *testing.T) {
	f := shelf(t)
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	known, other := stage.New(stage.Check, "known", ""), errors.New("other")
	for name, tt := range map[string]struct {
		ctx  context.Context
		err  error
		code int
		want string
	}{
		"nothing":            {t.Context(), nil, 0, ""},
		"explained":          {t.Context(), known, 15, "known"},
		"of a stopped run":   {ended, other, 1, "other"},
		"with a plain cause": {t.Context(), unix.ENOSPC, 16, "is full"},
		"with none":          {t.Context(), other, 16, "it went wrong: other"},
	} {
		err := Explain(tt.ctx, f.Share, tt.err, "it went wrong", "look")
		if stage.ExitCode(err) != tt.code || err == nil != (tt.want == "") || err != nil && !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: exit code %d of %v", name, stage.ExitCode(err), err)
		}
	}
}

type index struct {
	Schema int    `json:"schema"`
	Text   string `json:"text"`
}

func TestIndex(t *testing.T) {
	text, err := EncodeIndex(index{2, "a<b"})
	if want := "{\n  \"schema\": 2,\n  \"text\": \"a<b\"\n}\n"; err != nil || string(text) != want {
		t.Fatalf("%q, %v", text, err)
	}
	if _, err := EncodeIndex(func() {}); err == nil {
		t.Error("what is no data was encoded")
	}
	for name, tt := range map[string]struct {
		text  string
		limit int64
		want  string
	}{
		"as long as can be": {string(text), int64(len(text)), ""},
		"too long":          {string(text), int64(len(text)) - 1, "more than"},
		"of a later schema": {`{"schema": 3}`, 100, "schema 3, and this builder reads 2"},
		"cut":               {string(text[:9]), 100, "not a manifest"},
	} {
		var got index
		err := DecodeIndex(strings.NewReader(tt.text), tt.limit, 2, &got)
		if tt.want == "" && (err != nil || got != index{2, "a<b"}) || tt.want != "" && (err == nil || !strings.Contains(err.Error(), tt.want)) {
			t.Errorf("%s: %+v, %v, want %q", name, got, err, tt.want)
		}
	}
}
