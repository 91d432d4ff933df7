package main

import (
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/pflag"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/breaks"
	"github.com/k8sp/cuda/pkg/kernel"
)

// documents are what a user reads, copies from, or runs as it is.
var documents = []string{
	"README.md", "SECURITY.md", "run.sh", "Vagrantfile", "Makefile", "Dockerfile", "docs/*.md", "deploy/*.md", "deploy/*/*", "deploy/*/*/*", "example/*",
}

// readDocuments are they by their paths in the repository.
func readDocuments(t *testing.T) map[string]string {
	t.Helper()
	texts := map[string]string{}
	for _, pattern := range documents {
		paths, err := filepath.Glob(filepath.Join("../..", pattern))
		if err != nil || len(paths) == 0 {
			t.Fatalf("%s: %q, %v", pattern, paths, err)
		}
		for _, path := range paths {
			if info, err := os.Stat(path); err == nil && info.Mode().IsRegular() && !strings.HasSuffix(path, "_test.go") {
				texts[strings.TrimPrefix(path, "../../")] = read(t, path)
			}
		}
	}
	return texts
}

// current are the kernels of the hosts that the documents are for: Flatcar's channels
// and its long-term line.
var current = []string{"6.12.102", "6.6.150"}

// driverVersion is a version of a driver as documents have it: nothing else has three
// digits before the first dot.
var driverVersion = regexp.MustCompile(`\b[3-9]\d\d\.\d{2,3}(?:\.\d{2})?\b`)

// TestDriversThatAreNamed: whoever follows a document gets a driver that can be had,
// vouched for, and that is not known to break on the kernel of today's hosts. Versions
// that are named for their age are marked in run.sh's table, and told of in sentences
// that say so.
func TestDriversThatAreNamed(t *testing.T) {
	t.Parallel()
	named, outside := 0, 0
	for path, text := range readDocuments(t) {
		for line := range strings.Lines(text) {
			for _, version := range driverVersion.FindAllString(line, -1) {
				old := strings.HasPrefix(line, "# ") && strings.HasSuffix(line, " older kernels\n") // run.sh's table
				if !old && !recommends(line, version) {
					continue
				}
				named++
				if !old && cuda.KnownDigest(kernel.X86_64, version) == "" {
					t.Errorf("%s: driver %s has no known digest: %s", path, version, line)
				}
				preference, err := cuda.Prefer("auto", cuda.Package{Version: version}, nil)
				if err != nil {
					t.Fatal(err)
				}
				broken := false
				for _, release := range current {
					for _, b := range breaks.Find(breaks.Pair{Kernel: breaks.Version(release), Driver: version, Form: preference.Type}) {
						if broken = true; old {
							continue
						}
						t.Errorf("%s: driver %s is known to break on %s: %s: %s", path, version, release, b.Says, line)
					}
				}
				if old {
					if outside++; !broken {
						t.Errorf("%s: driver %s builds on today's kernels: %s", path, version, line)
					}
				}
			}
		}
	}
	if named < 15 || outside < 5 {
		t.Errorf("%d versions were found, %d of them for older kernels: the pattern misses them", named, outside)
	}
}

// recommends says whether a line has a driver be used, and does not only tell of one.
func recommends(line, version string) bool {
	for _, use := range []string{
		"DRIVER_VERSION=" + version, "--driver-version " + version, "CUDA_DRIVER:=" + version, "driver/" + version, "/" + version + "/", "#", "|",
	} {
		if strings.Contains(line, use) {
			return true
		}
	}
	return false
}

// TestOptionsThatAreDocumented: no document names an option that no command has, nor a
// variable that stands for none. [TestOptionsPage] has the page of all of them.
func TestOptionsThatAreDocumented(t *testing.T) {
	t.Parallel()
	all := map[string]bool{"help": true, "version": true}
	root := newRoot(streams{}, defaults{events: new(events)}, new(logOptions))
	for _, cmd := range root.Commands() {
		cmd.Flags().VisitAll(func(f *pflag.Flag) { all[f.Name] = true })
	}
	root.PersistentFlags().VisitAll(func(f *pflag.Flag) { all[f.Name] = true })
	used := 0
	for path, text := range readDocuments(t) {
		for _, name := range builderOptions(text) {
			used++
			if !all[name] {
				t.Errorf("%s names --%s, which no command of builder has", path, name)
			}
		}
		for _, variable := range regexp.MustCompile(`\bBUILDER_[A-Z0-9_]+\b`).FindAllString(text, -1) {
			if name := strings.ToLower(strings.ReplaceAll(strings.TrimPrefix(variable, "BUILDER_"), "_", "-")); !all[name] {
				t.Errorf("%s names %s, which stands for no option of builder", path, variable)
			}
		}
	}
	if used < 15 {
		t.Errorf("%d options were found on command lines: the pattern misses them", used)
	}
}

// builderOptions are the options that follow the image's name, or builder's, on a
// command line.
func builderOptions(text string) (names []string) {
	for line := range strings.Lines(strings.ReplaceAll(text, "\\\n", " ")) {
		if strings.Contains(line, "docker build") {
			continue
		}
		after := afterImage.FindStringSubmatch(line)
		if after == nil {
			continue
		}
		rest, _, _ := strings.Cut(after[1], "&&")
		for _, word := range regexp.MustCompile(`(?:^|[ \["])--([a-z][a-z0-9-]+)`).FindAllStringSubmatch(rest, -1) {
			names = append(names, word[1])
		}
	}
	return names
}

var afterImage = regexp.MustCompile("[ \t`](?:cuda|builder|\\$\\{CUDA_IMAGE\\}|\"?\\$CUDA_IMAGE\"?)((?: +(?:build|load|unload|next|verify|prune|capture|source))?(?: +-[^`]*))")
