package docs

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestFences(t *testing.T) {
	t.Parallel()
	text := `# Page

<!-- run: two-lines -->
~~~sh
docker build .
# <!-- run: not-a-comment -->

docker run cuda
~~~

<!-- not run: needs a GPU of
     somebody's -->

~~~console title="x"
$ builder load
~~~

1. A list:

   <!-- run: listed -->
   ~~~
   docker ps
     indented
   ~~~

<!-- generated: x -->
~~~yaml
a: b
~~~
<!-- /generated -->

    indented

~~~bash
~~~
`
	got, err := parse([]byte(strings.ReplaceAll(text, "~~~", "```"))).fences()
	if err != nil {
		t.Fatal(err)
	}
	want := []Fence{
		{Language: "sh", Text: "docker build .\n# <!-- run: not-a-comment -->\n\ndocker run cuda\n", Line: 4, Run: "two-lines"},
		{Language: "console", Text: "$ builder load\n", Line: 14, NotRun: "needs a GPU of somebody's"},
		{Text: "docker ps\n  indented\n", Line: 21, Run: "listed"},
		{Language: "yaml", Text: "a: b\n", Line: 27},
		{Language: "bash", Line: 34},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("the blocks (-want +got):\n%s", diff)
	}
}

func TestFencesThatAreMarkedWrongly(t *testing.T) {
	t.Parallel()
	for _, test := range []struct{ name, text, says string }{
		{"twice", "<!-- run: a -->\n```sh\n```\n\n<!-- run: a -->\n```sh\n```\n", "6: a block before is run as a, too"},
		{"before text", "x\n\n<!-- run: a -->\nText.\n\n```sh\n```\n", "3: <!-- run: a --> stands before no fenced block"},
		{"before an indented block", "<!-- not run: for no reason at all -->\n\n    x\n", "1: <!-- not run: for no reason at all --> stands before no fenced block"},
		{"at the end", "x\n<!-- run: a -->\n", "2: <!-- run: a --> stands before"},
		{"in a line", "x <!-- run: a -->\n\n```sh\n```\n", "1: <!-- run: a --> stands before"},
		{"two", "<!-- run: a -->\n<!-- run: b -->\n```sh\n```\n", "1: <!-- run: a --> stands before"},
		{"a name of words", "<!-- run: a b -->\n```sh\n```\n", "1: <!-- run: a b --> is neither"},
		{"no colon", "<!-- run a -->\n```sh\n```\n", "1: <!-- run a --> is neither"},
		{"no reason", "<!-- not run: -->\n```sh\n```\n", "1: <!-- not run: --> is neither"},
		{"another spelling", "<!-- Not-run: for no reason at all -->\n```sh\n```\n", "1: <!-- Not-run: for no reason at all --> is neither"},
		{"text behind it", "<!-- run: a --> b\n```sh\n```\n", "1: <!-- run: a --> b is neither"},
		{"two in a line", "<!-- not run: a --> <!-- x -->\n```sh\n```\n", "1: <!-- not run: a --> <!-- x --> is neither"},
	} {
		if _, err := parse([]byte(test.text)).fences(); err == nil || !strings.HasPrefix(err.Error(), test.says) {
			t.Errorf("%s: %v, want %q", test.name, err, test.says)
		}
	}
}
