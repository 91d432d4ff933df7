package standin

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// question is what a test asks the compiler.
type question struct {
	// object is the file that the compiler leaves if a text compiles; "" where the
	// question is for a header, and the exit status is the answer.
	object string
	// dir is the folder of the driver's sources, in which conftest.sh works.
	dir string
	// args are the compiler's; text is what it is to read.
	args []string
	text []byte
	// headers are what conftest.sh found before, one of NVIDIA's macros a line.
	headers []byte
}

// headersFile is the one file of the driver's own that a test includes.
const headersFile = "conftest/headers.h"

// limit is far above the size of a test's text, and of headersFile.
const limit = 1 << 20

// read recognizes a question, and returns what the compiler is to read from its input
// in any case.
func read(args []string, dir string, stdin io.Reader) (q question, input io.Reader, asks bool) {
	q = question{dir: dir, args: args}
	if !slices.Contains(args, "-D__KERNEL__") || slices.Contains(args, "-o") {
		return q, stdin, false
	}
	switch last := args[len(args)-1]; {
	case slices.Contains(args, "-c") && numbered.ReplaceAllString(last, "") == ".c":
		q.object = filepath.Join(dir, strings.TrimSuffix(last, ".c")+".o")
		var ok, also bool
		q.text, ok = contents(filepath.Join(dir, last))
		q.headers, also = contents(filepath.Join(dir, headersFile))
		return q, stdin, ok && also && q.ofTheKernel()
	case slices.Contains(args, "-E") && slices.Contains(args, "-M") && last == "-":
		text, err := io.ReadAll(io.LimitReader(stdin, limit))
		q.text = text
		return q, io.MultiReader(bytes.NewReader(text), stdin), err == nil && len(text) < limit && q.ofTheKernel()
	}
	return q, stdin, false
}

// numbered is how conftest.sh names its files: after its process.
var numbered = regexp.MustCompile(`conftest[0-9]+`)

func contents(path string) ([]byte, bool) {
	f, err := os.Open(path)
	if err != nil {
		return nil, false
	}
	defer f.Close()
	text, err := io.ReadAll(io.LimitReader(f, limit))
	return text, err == nil && len(text) < limit
}

// ofTheKernel says whether the compiler reads nothing of the driver's but headersFile,
// so that the answer is the same for every driver. The kernel's own headers name no
// file that is not in one of the kernel's folders, and the names of the driver's are
// part of the key.
func (q question) ofTheKernel() bool {
	if bytes.Contains(q.text, []byte("__has_include")) {
		return false
	}
	for line := range bytes.Lines(q.text) {
		directive, found := strings.CutPrefix(string(bytes.TrimSpace(line)), "#")
		if directive = strings.TrimSpace(directive); !found || !strings.HasPrefix(directive, "include") {
			continue
		}
		name := strings.TrimSpace(strings.TrimPrefix(directive, "include"))
		if name == `"`+headersFile+`"` {
			continue
		}
		path, opened := strings.CutPrefix(name, "<")
		path, closed := strings.CutSuffix(path, ">")
		if !opened || !closed || slices.ContainsFunc(q.folders(), func(dir string) bool { return exists(filepath.Join(dir, path)) }) {
			return false
		}
	}
	return true
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

// folders are those of the driver's that the compiler looks for headers in.
func (q question) folders() []string {
	list := []string{q.dir}
	for _, arg := range q.args {
		dir, is := strings.CutPrefix(arg, "-I")
		if !filepath.IsAbs(dir) {
			dir = filepath.Join(q.dir, dir)
		}
		if is && strings.HasPrefix(dir, q.dir+"/") {
			list = append(list, dir)
		}
	}
	return list
}

// key is the same for the same question of any driver, wherever it is unpacked.
func (q question) key() string {
	sum := sha256.New()
	put := func(kind string, values ...string) {
		for _, v := range append([]string{kind, strconv.Itoa(len(values))}, values...) {
			io.WriteString(sum, strconv.Itoa(len(v))+":"+v)
		}
	}
	put("recipe", "1")
	put("arguments", q.arguments()...)
	put("folders", q.subfolders()...)
	put("headers", q.present()...)
	put("text", numbered.ReplaceAllString(string(q.text), "conftest"))
	return hex.EncodeToString(sum.Sum(nil))
}

// arguments are the compiler's without what differs from driver to driver, and from
// process to process.
func (q question) arguments() (list []string) {
	const version = "NV_VERSION_STRING"
	for _, arg := range q.args {
		if strings.HasPrefix(arg, "-D"+version+"=") && !bytes.Contains(q.text, []byte(version)) {
			continue // the kernel's headers do not know it
		}
		arg = strings.ReplaceAll(arg, q.dir, "@sources")
		if parent := filepath.Dir(q.dir); parent != "/" {
			arg = strings.ReplaceAll(arg, parent, "@driver")
		}
		list = append(list, numbered.ReplaceAllString(arg, "conftest"))
	}
	return list
}

// subfolders are the names of those in the driver's folders, by which alone the
// kernel's headers could come upon a header of the driver's.
func (q question) subfolders() (list []string) {
	for _, dir := range q.folders() {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			if e.IsDir() && e.Name()[0] != '.' { // kbuild's own, which come and go
				list = append(list, filepath.Join(strings.TrimPrefix(dir, q.dir), e.Name()))
			}
		}
	}
	return list
}

// present are those of the headers that the text asks for and that there are, by their
// macros. Of headers that it does not ask for a driver may know more or fewer.
func (q question) present() (list []string) {
	defined := map[string]bool{}
	for line := range bytes.Lines(q.headers) {
		switch words := strings.Fields(string(line)); {
		case len(words) == 2 && words[0] == "#define":
			defined[words[1]] = true
		case len(words) == 2 && words[0] == "#undef", len(words) == 0, strings.HasPrefix(words[0], "//"):
		default:
			return []string{string(q.headers)} // something else than is known of that file
		}
	}
	for _, macro := range macros.FindAllString(string(q.text), -1) {
		if defined[macro] && !slices.Contains(list, macro) {
			list = append(list, macro)
		}
	}
	return list
}

var macros = regexp.MustCompile(`\bNV_\w+`)

// say does as the compiler would that has this answer, and returns its exit status.
func (q question) say(yes bool) int {
	if !yes || q.object != "" && os.WriteFile(q.object, nil, 0o644) != nil {
		return 1
	}
	return 0
}

// heard is the answer by what the compiler did; "" where that is none, as of a compiler
// that was killed, or had no disk.
func (q question) heard(code int, said []byte) string {
	left := q.object == "" || exists(q.object)
	switch {
	case code == 0 && left:
		return Yes
	case code == 1 && (q.object == "" || !left) && refusal.Match(said):
		return No
	}
	return ""
}

// refusal is an error at a place in a text. What the compiler cannot help, such as a
// header that cannot be read, is fatal to it, too, as is a header that is not there.
var refusal = regexp.MustCompile(`(?m)^[^: ][^:]*:[0-9]+(:[0-9]+)?: (error: |fatal error: .*: No such file or directory$)`)
