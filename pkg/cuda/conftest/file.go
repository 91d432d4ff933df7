package conftest

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"maps"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
)

// File keeps answers. Only who holds the share's lock writes one.
type File struct {
	// Path is the file's, in a folder that has nothing else. It need not be there.
	Path string
	// Of is all that the answers depend on beside their questions, in a word: a digest
	// of a kernel tree and its compiler.
	Of string
}

// mostFiles bounds the files of a folder. One has 30 KB.
const mostFiles = 64

// Read reads the answers. A file that is damaged, or of something else than its name
// says, has none, and an error that is no [fs.ErrNotExist].
func (f File) Read() (Set, error) {
	file, err := beneath.Open(f.Path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, 100*most))
	if err != nil {
		return nil, err
	}
	lines, mine := strings.CutPrefix(string(text), f.head())
	lines, sum, _ := strings.Cut(lines, sumWord)
	s, whole := parse(lines)
	if !mine || !whole || sum != f.sum(lines) {
		return nil, errors.New("it is damaged, or not what its name says")
	}
	return s, nil
}

const sumWord = "sha256 "

func (f File) head() string { return "answers 1 of " + f.Of + "\n" }

func (f File) sum(lines string) string {
	return fmt.Sprintf("%x\n", sha256.Sum256([]byte(f.head()+lines)))
}

// Add keeps what a build used and learned beside what was there, as far as there is room.
// Of the files of the folder those that nothing was added to for longest make room.
func (f File) Add(a Answers) error {
	before, err := f.Read()
	if err != nil {
		before = Set{}
	}
	ofBuild := Set{}
	maps.Copy(ofBuild, a.Used)
	maps.Copy(ofBuild, a.Learned)
	all := maps.Clone(before)
	maps.Copy(all, ofBuild)
	if len(all) > most {
		all = ofBuild
	}
	if maps.Equal(all, before) {
		return nil
	}
	lines := string(all.Lines())
	if err := atomicfile.Sweep(f.Path); err != nil { // of a run that died over it
		return err
	}
	if err := atomicfile.WriteFile(f.Path, []byte(f.head()+lines+sumWord+f.sum(lines)), 0o644); err != nil {
		return err
	}
	return f.makeRoom()
}

// makeRoom removes the oldest files beside this one that are too many.
func (f File) makeRoom() error {
	type aged struct {
		path string
		time time.Time
	}
	var files []aged
	paths, err := beneath.Glob(filepath.Dir(f.Path), "*"+filepath.Ext(f.Path))
	for _, path := range paths {
		if info, err := beneath.Lstat(path); err == nil && path != f.Path {
			files = append(files, aged{path, info.ModTime()})
		}
	}
	slices.SortFunc(files, func(a, b aged) int { return b.time.Compare(a.time) })
	for _, old := range files[min(len(files), mostFiles-1):] {
		err = errors.Join(err, beneath.Remove(old.path))
	}
	return err
}
