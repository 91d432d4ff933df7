package source

import (
	"bufio"
	"context"
	"errors"
	"io"
	"io/fs"
	"path"
	"regexp"
	"slices"
	"strings"

	"github.com/go-git/go-git/v5/plumbing/format/index"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source/partial"
	"github.com/k8sp/cuda/pkg/stage"
)

// Complete replaces a tree that [Checkout] left, and that turned out to lack a
// file, by the whole of the same commit. Only what is not there is fetched.
func Complete(ctx context.Context, t kernel.Target, o Options) (Tree, error) {
	o.Full = true
	l, err := newLadder(t, o)
	if err != nil {
		return Tree{}, err
	}
	r, err := readRecord(l.dir)
	if err != nil {
		return Tree{}, stage.Wrap(stage.Source, err, "the kernel source lacks a file that the build needs, and builder did not fetch it",
			"complete it, or move it away and let builder fetch it")
	}
	if err := l.checkVacant(); err != nil {
		return Tree{}, err
	}
	if err := l.mayAsk("it lacks a file that this build needs"); err != nil {
		return Tree{}, err
	}
	if err := l.needSpace(); err != nil {
		return Tree{}, err
	}
	zerolog.Ctx(ctx).Warn().Str("ref", r.Ref).Msg("fetching the whole kernel source, since a part of it does not do")
	if r.Rung == RungTarball {
		return l.fetchTarball(ctx)
	}
	hash, err := partial.ReadRef(l.dir, r.Ref)
	if err != nil {
		return Tree{}, stage.Wrap(stage.Source, err, "the kernel source cannot be completed", "remove "+l.dir+" and run again")
	}
	return l.fetch(ctx, found{ref: r.Ref, hash: hash})
}

// complaints are the words in which make, a compiler, a shell, or a script says
// that there is no such file.
var complaints = []string{"No such file or directory", "No rule to make target", "can't open", "cannot open", "can't read", "not found"}

// maxLogLine bounds a line of a log; compilers' command lines are long.
const maxLogLine = 1 << 20

// Missing finds, in what make or an installer printed, a file of the kernel's
// source that is not there because it was not checked out: its path in the tree,
// or "" where there is none. A tree that is whole lacks none.
func Missing(t Tree, log io.Reader) (string, error) {
	absent, err := notCheckedOut(t.Dir)
	if err != nil || len(absent) == 0 {
		return "", err
	}
	lines := bufio.NewScanner(log)
	lines.Buffer(nil, maxLogLine)
	folder := "" // that make is in
	for lines.Scan() {
		line := lines.Text()
		if m := entering.FindStringSubmatch(line); m != nil {
			folder = m[1]
		}
		if !slices.ContainsFunc(complaints, func(c string) bool { return strings.Contains(line, c) }) {
			continue
		}
		if name := mentioned(line, t.Dir, folder, absent); name != "" {
			return name, nil
		}
	}
	return "", lines.Err()
}

// entering is make's line for a folder that it goes to.
var entering = regexp.MustCompile(`^\s*make(?:\[\d+\])?: Entering directory '(/.*)'$`)

// notCheckedOut are the files of a tree's commit that are not in the tree, by
// their base names.
func notCheckedOut(dir string) (map[string][]*index.Entry, error) {
	idx, err := partial.ReadIndex(dir)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil // no checkout of ours, but a host's own tree
	}
	if err != nil {
		return nil, err
	}
	absent := map[string][]*index.Entry{}
	for _, e := range idx.Entries {
		if e.SkipWorktree {
			absent[path.Base(e.Name)] = append(absent[path.Base(e.Name)], e)
		}
	}
	return absent, nil
}

// mentioned is the first absent file that a line names: by its path, by the
// end of it, as #include does, or relative to a folder that make is in. One that
// is to be made of it counts, too.
func mentioned(line, dir, folder string, absent map[string][]*index.Entry) string {
	words := strings.FieldsFunc(line, func(r rune) bool { return strings.ContainsRune(" \t:;,'\"`<>()[]*‘’", r) })
	for _, word := range words {
		for _, word := range madeOf(word) {
			for _, e := range absent[path.Base(word)] {
				if means(word, e.Name, dir, folder) {
					return e.Name
				}
			}
		}
	}
	return ""
}

// sources are the ends of the names of what an object or an assembler file is
// made of.
var sources = map[string][]string{".o": {".c", ".S"}, ".s": {".c"}, ".i": {".c"}}

// madeOf is a file, and what kbuild makes one of that name of: "rq-offsets.s" is
// made of rq-offsets.c, of which nothing is said where it is not there.
func madeOf(word string) []string {
	list := []string{word}
	suffix := path.Ext(word)
	for _, source := range sources[suffix] {
		list = append(list, strings.TrimSuffix(word, suffix)+source)
	}
	return list
}

// means says whether a word is the name of the tree's file at dir: a path in the
// tree, or the end of one; or, in whatever folder, a path that ends as the file's
// does, since what is made of it lies elsewhere by the same path.
func means(word, file, dir, folder string) bool {
	if !path.IsAbs(word) && folder != "" && strings.Contains(file, "/") &&
		strings.HasSuffix(path.Join(folder, word), "/"+file) {
		return true
	}
	absolute := path.IsAbs(word)
	word = path.Clean(strings.TrimPrefix(strings.TrimPrefix(word, dir), "/"))
	for strings.HasPrefix(word, "../") {
		word = word[len("../"):]
	}
	// A name without a folder could be anybody's.
	return file == word || strings.Contains(word, "/") && strings.HasSuffix(file, "/"+word) ||
		absolute && strings.Contains(file, "/") && strings.HasSuffix(word, "/"+file)
}
