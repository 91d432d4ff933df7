//go:build integration

package integration

import (
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/lab/shared"
)

// TestDockerfileOnArm64 is as much of the image's build on an arm64 machine as can be seen
// without one: Debian has for arm64 all that is installed, no path in it is of another
// architecture's, and what runs in a pushed image finds its loader and libraries there.
func TestDockerfileOnArm64(t *testing.T) {
	text, err := os.ReadFile(filepath.Join(shared.Lab(t).Checkout, "Dockerfile"))
	if err != nil {
		t.Fatal(err)
	}
	var lines []string
	for line := range strings.Lines(string(text)) {
		if line = strings.TrimSpace(line); !strings.HasPrefix(line, "#") {
			lines = append(lines, strings.TrimSuffix(line, ` \`))
		}
	}

	t.Run("no path is another's", func(t *testing.T) {
		for _, line := range lines {
			crosses := strings.Contains(line, "cross=") || strings.Contains(line, "CROSS has to be")
			if machine.MatchString(line) && !crosses {
				t.Errorf("%q names an architecture", line)
			}
		}
	})

	t.Run("packages", func(t *testing.T) {
		packages := installed(t, lines)
		for _, more := range [][]string{
			{"gcc-14", "gcc-13", "gcc-12"},
			{"gcc-14-x86-64-linux-gnu", "gcc-13-x86-64-linux-gnu"}, // CROSS=amd64; Debian has no more
		} {
			argv := append([]string{"run", "--rm", "--network", "host", needTrixie(t), "bash", "-euo", "pipefail", "-c",
				`dpkg --add-architecture arm64; apt-get update -qq
				apt-get -o APT::Architecture=arm64 -o APT::Architectures=arm64 -o Dir::State::status=/dev/null \
					--simulate install --no-install-recommends "$@" | sed -n 's/^Inst \([^ ]*\).*/\1/p'`, "bash"}, append(more, packages...)...)
			got := strings.Fields(docker(t, argv...))
			for _, name := range append(more, packages...) {
				if !slices.Contains(got, name) {
					t.Errorf("%s would not be installed", name)
				}
			}
		}
	})

	t.Run("what runs in a pushed image", func(t *testing.T) {
		sed := regexp.MustCompile(`ldconfig -p \| sed -n -E '([^']+)'`).FindStringSubmatch(strings.Join(lines, "\n"))
		loaders := regexp.MustCompile(`for loader in (.*); do`).FindStringSubmatch(strings.Join(lines, "\n"))
		if sed == nil || loaders == nil {
			t.Fatal("the Dockerfile does not ask ldconfig any more")
		}
		// As ldconfig of Debian's arm64 says it, of the files of its libc6.
		out := docker(t, "run", "--rm", "--network", "host", needTrixie(t), "bash", "-euo", "pipefail", "-c", `
			dpkg --add-architecture arm64; apt-get update -qq; cd /tmp
			apt-get download -qq libc6:arm64 2>/dev/null; dpkg-deb --extract libc6_*.deb root; cd root; ln -sf usr/lib lib
			for file in usr/lib/aarch64-linux-gnu/*.so.*; do
				printf '\t%s (libc6,AArch64) => /%s\n' "${file##*/}" "${file#usr/}"
			done | sed -n -E "$1" | grep -E '/lib(c|m|dl|pthread|rt)\.so\.'
			set -f; for loader in $2; do set +f; ls .$loader 2>/dev/null || true; done`, "bash", sed[1], loaders[1])
		for _, want := range []string{"/lib/aarch64-linux-gnu/libc.so.6", "/lib/aarch64-linux-gnu/libm.so.6", "./lib/ld-linux-aarch64.so.1"} {
			if !slices.Contains(strings.Fields(out), want) {
				t.Errorf("%s is not among\n%s", want, out)
			}
		}
	})
}

// machine finds names of an architecture.
var machine = regexp.MustCompile(`x86|amd64|arm64|aarch64`)

// installed are the packages that the Dockerfile names, without the compilers.
func installed(t *testing.T, lines []string) []string {
	t.Helper()
	first := slices.IndexFunc(lines, func(line string) bool { return strings.Contains(line, "apt-get install") })
	var packages []string
	for _, line := range lines[first+1:] {
		switch {
		case strings.HasPrefix(line, "&&"):
			if len(packages) < 15 {
				t.Fatalf("only %q are installed", packages)
			}
			return packages
		case line == "${pahole}":
			packages = append(packages, "pahole")
		case !strings.HasPrefix(line, "$"):
			packages = append(packages, line)
		}
	}
	t.Fatal("the list of packages does not end")
	return nil
}
