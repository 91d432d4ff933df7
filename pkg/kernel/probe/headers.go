package probe

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"regexp"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
)

const (
	// commandLimit bounds a file in which kbuild keeps a command, in bytes: they
	// have some 100 kB.
	commandLimit = 8 << 20
	// sourceLimit bounds a source file. A driver's largest have 1 MB.
	sourceLimit = 16 << 20
	// filesLimit bounds how many files of a driver are read; the largest has 700.
	filesLimit = 20_000
)

// errNone is a folder without a record of what was compiled.
var errNone = errors.New("kbuild left no record of what the modules were compiled of")

// Headers are the kernel's headers that the sources in a folder include, as they
// name them ("linux/pci.h") and in the order in which they do: each once. Kbuild has
// built modules in the folder, and left its FILE.o.cmd there. Those of a header that
// no object was made of, since a condition left it out, are not among them.
func Headers(dir string) ([]string, error) {
	c := collector{dir: dir, read: map[string][]string{}, here: map[string]bool{}, listed: map[string]bool{}}
	err := beneath.WalkDir(dir, func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() && strings.HasSuffix(d.Name(), ".o.cmd") {
			err = c.object(path)
		}
		return err
	})
	if err == nil && len(c.list) == 0 {
		err = errNone
	}
	return c.list, err
}

// collector collects headers, object by object.
type collector struct {
	dir string
	// read are the names of headers in the directives of each file, by its path.
	read map[string][]string
	// here says of paths in the folder whether there is a file.
	here   map[string]bool
	list   []string
	listed map[string]bool
}

// object adds what one object's sources include.
func (c *collector) object(cmd string) error {
	text, err := command.ReadLeft(cmd, commandLimit)
	if err != nil {
		return err
	}
	own, kernel := c.dependencies(text)
	for _, file := range own {
		names, err := c.includes(file)
		if err != nil {
			return err
		}
		for _, name := range names {
			if kernel[name] && !c.listed[name] {
				c.listed[name] = true
				c.list = append(c.list, name)
			}
		}
	}
	return nil
}

// dependencies are the files that an object was made of, by kbuild's record of it
// (scripts/basic/fixdep.c): those of the folder itself, by their paths, the source
// first, and the kernel's headers by the names by which they are included.
//
//	source_DIR/nv.o := DIR/nv.c
//	deps_DIR/nv.o := \
//	    $(wildcard include/config/SMP) \
//	  /usr/src/linux/include/linux/pci.h \
func (c *collector) dependencies(text []byte) (own []string, kernel map[string]bool) {
	kernel = map[string]bool{}
	add := func(path string) {
		switch path = c.absolute(path); {
		case strings.HasPrefix(path, c.dir+"/"):
			// What modpost wrote of a module is none of its source.
			if !strings.HasSuffix(path, ".mod.c") {
				own = append(own, path)
			}
		default:
			for _, name := range includedAs(path) {
				kernel[name] = true
			}
		}
	}
	listing := false
	lines := bufio.NewScanner(bytes.NewReader(text))
	lines.Buffer(nil, commandLimit+1) // all of it may be one line
	for lines.Scan() {
		line := lines.Text()
		switch _, value, assigns := strings.Cut(line, " := "); {
		case strings.HasPrefix(line, "source_") && assigns:
			add(value)
		case strings.HasPrefix(line, "deps_"):
			listing = true
		case listing && strings.HasPrefix(line, "  "):
			if path := strings.TrimSpace(strings.TrimSuffix(line, `\`)); path != "" && !strings.HasPrefix(path, "$(") {
				add(path)
			}
		default:
			listing = false
		}
	}
	if len(own) == 0 || strings.HasSuffix(own[0], ".o") {
		return nil, nil
	}
	return own, kernel
}

// absolute is a path of a record. Since Linux 6.13 kbuild works in the modules'
// folder, and names what is in it from there.
func (c *collector) absolute(path string) string {
	path = filepath.Clean(path)
	if filepath.IsAbs(path) {
		return path
	}
	here := filepath.Join(c.dir, path)
	is, known := c.here[here]
	if !known {
		_, err := beneath.Lstat(here)
		is = err == nil
		c.here[here] = is
	}
	if is {
		return here
	}
	return path
}

// includeFolders are the ends of the folders that the kernel's headers are included
// from.
var includeFolders = []string{"include/generated/uapi/", "include/generated/", "include/uapi/", "include/"}

// includedAs are the names by which a file of the kernel's may be included:
// include/uapi/drm/drm_mode.h is drm/drm_mode.h, and uapi/drm/drm_mode.h.
func includedAs(path string) (names []string) {
	for _, folder := range includeFolders {
		if i := strings.LastIndex("/"+path, "/"+folder); i >= 0 {
			names = append(names, ("/" + path)[i+1+len(folder):])
		}
	}
	return names
}

// directive finds the names of headers in a source.
var directive = regexp.MustCompile(`(?m)^[ \t]*#[ \t]*include[ \t]*[<"]([A-Za-z0-9_./+-]+)[>"]`)

// includes are the headers that a file names, in no matter what condition.
func (c *collector) includes(file string) ([]string, error) {
	if names, ok := c.read[file]; ok {
		return names, nil
	}
	if len(c.read) >= filesLimit {
		return nil, fmt.Errorf("more than %d files", filesLimit)
	}
	text, err := command.ReadLeft(file, sourceLimit)
	if errors.Is(err, fs.ErrNotExist) {
		err = nil // it was made for the compile, and is gone
	}
	if err != nil {
		return nil, err
	}
	var names []string
	for _, found := range directive.FindAllSubmatch(text, -1) {
		names = append(names, string(found[1]))
	}
	c.read[file] = names
	return names, nil
}
