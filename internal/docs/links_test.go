package docs

import (
	"bytes"
	"fmt"
	"maps"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
)

// TestLinks: every link of every document leads somewhere in the repository, to a heading
// that is there, or is an https URL; and every page that the program, its scripts and
// manifests name is there, with the heading. What is outside is not fetched, as tests have
// no network: whether a URL still leads anywhere nobody is told by this.
func TestLinks(t *testing.T) {
	t.Parallel()
	found := checkLinks(t, readTree(t, Root(t)))
	for _, problem := range found.problems {
		t.Error(problem)
	}
	t.Logf("%d links in %d documents, %d of them to other sites, and %d mentions of pages in %d other files",
		found.links, found.documents, found.outside, found.mentions, found.texts)
	if found.links < 100 || found.documents < 15 || found.outside < 10 || found.mentions < 10 || found.texts < 300 {
		t.Error("that is too few to be all")
	}
}

type linksFound struct {
	problems                                   []string
	documents, links, outside, texts, mentions int
}

func checkLinks(t *testing.T, repository tree) (found linksFound) {
	t.Helper()
	anchors := map[string]map[string]bool{}
	pages := map[string]page{}
	for _, name := range repository.markdown() {
		pages[name] = parse(repository.read(t, name))
		anchors[name] = pages[name].anchors()
	}
	look := linkChecker{repository: repository, anchors: anchors, read: func(name string) []byte { return repository.read(t, name) }}
	for _, name := range repository.files {
		if document, ok := pages[name]; ok {
			found.documents++
			for _, link := range document.links() {
				found.links++
				outside, err := look.link(name, link.To)
				if outside {
					found.outside++
				}
				if err != nil {
					found.problems = append(found.problems, fmt.Sprintf("%s:%d: %s: %v", name, link.Line, link.To, err))
				}
			}
			continue
		}
		text := repository.read(t, name)
		if example(name) || !utf8.Valid(text) {
			continue
		}
		found.texts++
		for n, line := range strings.Split(string(text), "\n") {
			for _, said := range mentions(line) {
				found.mentions++
				if err := look.mention(name, said); err != nil {
					found.problems = append(found.problems, fmt.Sprintf("%s:%d: %s: %v", name, n+1, said, err))
				}
			}
		}
	}
	return found
}

// linkChecker knows what links may lead to.
type linkChecker struct {
	repository tree
	anchors    map[string]map[string]bool // of each document
	read       func(file string) []byte
}

// link looks at a link of a document, and says whether it leads outside.
func (c linkChecker) link(document, to string) (outside bool, err error) {
	u, err := url.Parse(to)
	switch {
	case err != nil:
		return false, err
	case to == "":
		return false, fmt.Errorf("it leads nowhere")
	case u.Scheme == "mailto" && strings.Contains(u.Opaque, "@"):
		return true, nil
	case u.Scheme != "" || u.Host != "":
		if u.Scheme != "https" || u.Host == "" {
			return true, fmt.Errorf("it is no https URL of a host")
		}
		if file, ours := ofThisRepository(u); ours {
			return true, c.place(file, u.Fragment)
		}
		return true, nil
	case u.Path == "":
		return false, c.place(document, u.Fragment)
	case path.IsAbs(u.Path):
		return false, c.place(strings.TrimPrefix(u.Path, "/"), u.Fragment)
	}
	file := path.Join(path.Dir(document), u.Path)
	if strings.HasSuffix(u.Path, "/") {
		file += "/"
	}
	return false, c.place(file, u.Fragment)
}

// mention looks at a page that a file names: by a URL, by its path from that file, from
// the top, or behind whatever stands for the top.
func (c linkChecker) mention(from, said string) error {
	u, err := url.Parse(said)
	if err != nil {
		return err
	}
	if u.Host != "" {
		file, ours := ofThisRepository(u)
		if !ours {
			return nil
		}
		return c.place(file, u.Fragment)
	}
	name := u.Path
	if at := strings.LastIndex(name, "docs/"); at >= 0 {
		name = name[at:]
	}
	for _, candidate := range []string{path.Join(path.Dir(from), u.Path), path.Clean(u.Path)} {
		if c.anchors[candidate] != nil {
			name = candidate
		}
	}
	return c.place(name, u.Fragment)
}

// place looks for a file or folder, which ends in a slash if it must be one, and for what
// a link has after its #.
func (c linkChecker) place(name, fragment string) error {
	clean := path.Clean(name)
	mode, ok := c.repository.has[clean]
	switch {
	case !ok:
		return fmt.Errorf("there is no %s", clean)
	case strings.HasSuffix(name, "/") && !mode.IsDir():
		return fmt.Errorf("%s is no folder", clean)
	case fragment == "":
		return nil
	case mode.IsDir(): // GitHub shows a folder's README
		clean = path.Join(clean, "README.md")
	}
	if anchors, ok := c.anchors[clean]; ok {
		if !anchors[fragment] {
			return fmt.Errorf("%s has no heading or anchor for #%s", clean, fragment)
		}
		return nil
	}
	return c.lines(clean, fragment)
}

var lineFragment = regexp.MustCompile(`^L([0-9]+)(?:-L([0-9]+))?$`)

// lines looks for what GitHub calls L7, or L7-L9, of a file.
func (c linkChecker) lines(file, fragment string) error {
	named := lineFragment.FindStringSubmatch(fragment)
	if mode, ok := c.repository.has[file]; named == nil || !ok || !mode.IsRegular() {
		return fmt.Errorf("%s has no headings", file)
	}
	there := bytes.Count(c.read(file), []byte("\n"))
	for _, number := range named[1:] {
		if n, err := strconv.Atoi(number); number != "" && (err != nil || n < 1 || n > there) {
			return fmt.Errorf("%s has no line %s", file, number)
		}
	}
	return nil
}

// ofThisRepository is the path in the repository that a URL of GitHub's leads to.
func ofThisRepository(u *url.URL) (file string, ours bool) {
	parts := strings.Split(strings.Trim(u.Path, "/"), "/")
	if len(parts) < 2 || parts[0]+"/"+parts[1] != "k8sp/cuda" {
		return "", false
	}
	switch parts = parts[2:]; {
	case u.Host == "github.com" && len(parts) == 0:
		return ".", true
	case u.Host == "github.com" && len(parts) > 2 && slices.Contains([]string{"blob", "tree", "raw"}, parts[0]):
		return path.Join(parts[2:]...), true
	case u.Host == "raw.githubusercontent.com" && len(parts) > 1:
		return path.Join(parts[1:]...), true
	}
	return "", false
}

var mentioned = regexp.MustCompile(`(?:^|[^\w-])((?:[\w.:%@+-]*/+)*(?:docs/[\w/-]+\.md(?:#[\w-]+)?|README\.md#[\w-]+)|https://github\.com/k8sp/cuda#[\w-]+)`)

// mentions are the pages in docs, and the READMEs' headings, that a line of a text names.
func mentions(line string) (list []string) {
	for _, found := range mentioned.FindAllStringSubmatch(line, -1) {
		list = append(list, found[1])
	}
	return list
}

func TestMentions(t *testing.T) {
	t.Parallel()
	for line, want := range map[string][]string{
		"// see docs/a.md, and ../docs/b.md#c.":                       {"docs/a.md", "../docs/b.md#c"},
		"# deploy/README.md#x; README.md":                             {"deploy/README.md#x"},
		`"https://github.com/k8sp/cuda/blob/main/docs/` + `a.md#b"`:   {"https://github.com/k8sp/cuda/blob/main/docs/a.md#b"},
		"https://github.com/k8sp/cuda#options":                        {"https://github.com/k8sp/cuda#options"},
		"docs/*.md and foo-docs/a.md and docs/a.mdx? $ROOT/docs/c.md": {"docs/a.md", "ROOT/docs/c.md"},
	} {
		if diff := cmp.Diff(want, mentions(line)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", line, diff)
		}
	}
}

// TestLinksThatLeadNowhere: what TestLinks finds in a repository of its own.
func TestLinksThatLeadNowhere(t *testing.T) {
	t.Parallel()
	root := testkit.WriteTree(t, map[string]string{
		".gitignore":        "/linux/\n",
		".hidden/x.md":      "[not looked at](nowhere)\n",
		"linux/x.md":        "[nor this](nowhere)\n",
		".github/x.md":      "[a](../README.md#b-c)\n[b](none.md)\n",
		"src/a.go":          "package a\n\n// docs/page.md#twice-1, docs/none.md, ../docs/page.md#none\n",
		"src/testdata/a.go": "// docs/none.md\n",
		"src/b.bin":         "\xff docs/none.md\n",
		"docs/page.md":      "# Twice\n## Twice\n## A `b-c`, & *d*!\n<a id=\"here\"></a>\n",
		"README.md": `# B c

[a](docs/page.md#twice-1) [b](docs/page.md#a-b-c--d) [c](docs/page.md#here) [d](#b-c) [e](docs/) [f](src) [g](/docs/page.md)
[h](https://example.com/x#y) [i](mailto:a@example.com) [j](src/a.go#L3) [k](https://github.com/k8sp/cuda/blob/main/docs/page.md#here)
https://example.com/bare <a@example.com> [l](docs#x)

` + "```sh\n[in code](nowhere)\n```\n`[in code](nowhere)`" + `

[1](docs/none.md) [2](docs/page.md#twice-2) [3](#none)
[4](src/a.go#L4) [5](src/a.go#here) [6](src/a.go/) [7](../outside.md)
[8](http://example.com) [9](https:///x) [10](mailto:) [11](linux/x.md)
[12](https://github.com/k8sp/cuda/blob/main/docs/none.md) [13]() ![14](none.png)
<a href="none.html">15</a> [16][ref] http://example.com/bare

[ref]: docs/ref.md
`,
	})
	found := checkLinks(t, readTree(t, root))
	want := []string{
		".github/x.md:2: none.md: there is no .github/none.md",
		"README.md:5: docs#x: docs/README.md has no headings",
		"README.md:12: docs/none.md: there is no docs/none.md",
		"README.md:12: docs/page.md#twice-2: docs/page.md has no heading or anchor for #twice-2",
		"README.md:12: #none: README.md has no heading or anchor for #none",
		"README.md:13: src/a.go#L4: src/a.go has no line 4",
		"README.md:13: src/a.go#here: src/a.go has no headings",
		"README.md:13: src/a.go/: src/a.go is no folder",
		"README.md:13: ../outside.md: there is no ../outside.md",
		"README.md:14: http://example.com: it is no https URL of a host",
		"README.md:14: https:///x: it is no https URL of a host",
		"README.md:14: mailto:: it is no https URL of a host",
		"README.md:14: linux/x.md: there is no linux/x.md",
		"README.md:15: https://github.com/k8sp/cuda/blob/main/docs/none.md: there is no docs/none.md",
		"README.md:15: : it leads nowhere",
		"README.md:15: none.png: there is no none.png",
		"README.md:16: none.html: there is no none.html",
		"README.md:16: docs/ref.md: there is no docs/ref.md",
		"README.md:16: http://example.com/bare: it is no https URL of a host",
		"src/a.go:3: docs/none.md: there is no docs/none.md",
		"src/a.go:3: ../docs/page.md#none: docs/page.md has no heading or anchor for #none",
	}
	if diff := cmp.Diff(want, found.problems); diff != "" {
		t.Errorf("the problems (-want +got):\n%s", diff)
	}
	if found.documents != 3 || found.links != 33 || found.texts != 2 || found.mentions != 3 {
		t.Errorf("%+v", found)
	}
}

func TestSlugs(t *testing.T) {
	t.Parallel()
	text := "# What \"passed\" means\n## GPUs in parts (MIG)\n### `--dry-run`: what_is shown\n## [A link](x.md), *really*\n" +
		"## Flatcar's next kernel\n## 4. Über 5 % \\* more &amp; less\nSetext\n---\n## Setext\n## Setext\n## ![image](x.png) after\n"
	want := []string{
		"-after", "4-über-5---more--less", "--dry-run-what_is-shown", "a-link-really", "flatcars-next-kernel", "gpus-in-parts-mig",
		"setext", "setext-1", "setext-2", "what-passed-means",
	}
	got := slices.Sorted(maps.Keys(parse([]byte(text)).anchors()))
	slices.Sort(want)
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the anchors (-want +got):\n%s", diff)
	}
}
