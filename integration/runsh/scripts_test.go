package runsh

import (
	"bufio"
	"bytes"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// checkout is the repository's root, seen from this package.
const checkout = "../.."

// sinceBash4 matches what macOS's bash 3.2 does not have. shellcheck knows no
// versions of bash, so this is all that guards against it.
var sinceBash4 = []*regexp.Regexp{
	regexp.MustCompile(`\b(declare|local|typeset) +-[a-z]*[Anglu]`), // associative arrays, namerefs, cases
	regexp.MustCompile(`\b(mapfile|readarray|coproc)\b`),
	regexp.MustCompile(`\$\{[A-Za-z_0-9]+(\^|,|@)`), // ${x^^}, ${x,,}, ${x@Q}
	regexp.MustCompile(`&>>|\|&|;;&|;&`),
	regexp.MustCompile(`\[\[? -v `),
	regexp.MustCompile(`\bwait -n\b`),
	regexp.MustCompile(`\$\{[A-Za-z_0-9]+: -`), // ${x: -1} works, ${x:0:-1} does not
	regexp.MustCompile(`\$\{[A-Za-z_0-9]+:[0-9]+:-`),
	regexp.MustCompile(`\$(EPOCHSECONDS|BASHPID|SRANDOM)\b`),
	regexp.MustCompile(`"\$\{[a-z_]+\[@\]\}"`), // an error when empty, under set -u
}

// gnuOnly matches options and programs that macOS does not have.
var gnuOnly = []*regexp.Regexp{
	regexp.MustCompile(`(^|[|;&(] *)(tac|numfmt|timeout|setsid|flock|nproc|free|ldd|apt-get)( |$)`),
	regexp.MustCompile(`\breadlink +-[fe]|\brealpath\b`),
	regexp.MustCompile(`\bsed +(-r|-i +['"]|--)`),
	regexp.MustCompile(`\bgrep +-[a-z]*P`),
	regexp.MustCompile(`\b(stat|date|du|df|cp|mv|rm|ls|mkdir|sort|tar|wc|head|tail|find|cut|mktemp) +[^|;&]*--[a-z]`),
	regexp.MustCompile(`\bstat +-c|\bdate +-d|\bcp +-[a-z]*[ut]|\bln +-[a-z]*r|\bdf +-[a-z]*B|\bdu +-[a-z]*b`),
	regexp.MustCompile(`\bfind\b.* -(printf|readable|executable)\b`),
	regexp.MustCompile(`\bxargs\b.* -(r|d)\b`),
}

// TestRunshIsForMacOS looks for what bash 3.2 and macOS's tools lack. It finds
// slips, not everything: nothing here is a Mac.
func TestRunshIsForMacOS(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(checkout, "run.sh"))
	if err != nil {
		t.Fatal(err)
	}
	for number, line := range commands(script) {
		for _, pattern := range slices.Concat(sinceBash4, gnuOnly) {
			if found := pattern.FindString(line); found != "" {
				t.Errorf("run.sh:%d: %q is not on macOS: %s", number, found, line)
			}
		}
	}
	first, _, _ := strings.Cut(string(script), "\n")
	if first != "#!/bin/bash" {
		t.Errorf("run.sh begins with %q; macOS has its bash at /bin/bash", first)
	}
}

// TestMacOSPatternsMatch keeps the patterns above honest.
func TestMacOSPatternsMatch(t *testing.T) {
	for _, line := range []string{
		`declare -A table`, `local -n ref=$1`, `mapfile -t lines`, `x=${name,,}`, `x=${name^^}`, `cmd &>> log`,
		`a |& b`, `[[ -v name ]]`, `x=${name:0:-1}`, `for x in "${list[@]}"; do`,
		`readlink -f "$0"`, `sed -i 's/a/b/' file`, `grep -oP 'x' file`, `stat -c %s file`, `stat --format=%s file`,
		`date -d yesterday`, `df --output=avail .`, `find . -printf x`, `ls | xargs -r rm`, `timeout 5 x`, `du -sb .`,
	} {
		if !slices.ContainsFunc(slices.Concat(sinceBash4, gnuOnly), func(p *regexp.Regexp) bool { return p.MatchString(line) }) {
			t.Errorf("nothing objects to %q", line)
		}
	}
}

// TestRunshDefaultIsInItsTable holds the default toolkit to the table below it.
func TestRunshDefaultIsInItsTable(t *testing.T) {
	script, err := os.ReadFile(filepath.Join(checkout, "run.sh"))
	if err != nil {
		t.Fatal(err)
	}
	value := func(name string) string {
		match := regexp.MustCompile(`"\$\{` + name + `:=([^}]+)\}"`).FindSubmatch(script)
		if match == nil {
			t.Fatalf("run.sh sets no default for %s", name)
		}
		return string(match[1])
	}
	row := regexp.MustCompile(`(?m)^# ` + regexp.QuoteMeta(value("CUDA_VERSION")) + ` +` +
		regexp.QuoteMeta(value("CUDA_DRIVER")) + ` +` + value("CUDA_SHA256") + `$`)
	if !row.Match(script) {
		t.Error("run.sh's default toolkit is not a row of its table")
	}
}

// commands returns a script's lines by number, without those that are comments.
func commands(script []byte) map[int]string {
	lines := map[int]string{}
	scanner := bufio.NewScanner(bytes.NewReader(script))
	for number := 1; scanner.Scan(); number++ {
		if line := strings.TrimSpace(scanner.Text()); line != "" && !strings.HasPrefix(line, "#") {
			lines[number] = line
		}
	}
	return lines
}

// shellScripts returns every shell script of the checkout, by its name or its
// first line. What a share holds is not the repository's.
func shellScripts(t *testing.T) []string {
	t.Helper()
	share := []string{".git", ".builder", ".vagrant", "cuda", "driver", "linux", "modules"}
	shebang := regexp.MustCompile(`^#!.*\b(ba|da)?sh\b`)
	var scripts []string
	err := filepath.WalkDir(checkout, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		name, err := filepath.Rel(checkout, path)
		if err != nil {
			return err
		}
		if entry.IsDir() {
			if slices.Contains(share, name) {
				return fs.SkipDir
			}
			return nil
		}
		if !entry.Type().IsRegular() {
			return nil
		}
		first, err := firstLine(path)
		if err != nil {
			return err
		}
		if filepath.Ext(name) == ".sh" || shebang.MatchString(first) {
			scripts = append(scripts, name)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return scripts
}

func firstLine(path string) (string, error) {
	file, err := os.Open(path)
	if err != nil {
		return "", err
	}
	defer file.Close()
	start := make([]byte, 64)
	n, _ := file.Read(start) // an empty file has no first line
	line, _, _ := strings.Cut(string(start[:n]), "\n")
	return line, nil
}
