package cuda

import (
	"bytes"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/command"
)

// installedRecord makes the installer believe that the driver is installed, which
// it insists on before it builds modules only: the file log in its state folder
// begins with the driver's version and its description.
func installedRecord(d Driver) []byte {
	return []byte(d.Version + "\n" + d.Manifest.Description + "\n")
}

// gatherModules copies the modules that an installer left in a folder and in those
// below it to another folder, and lists them, sorted.
func gatherModules(from, dir string) ([]string, error) {
	found, err := findModules(from)
	if err != nil {
		return nil, err
	}
	var files []string
	for _, path := range found {
		file := filepath.Join(dir, filepath.Base(path))
		if slices.Contains(files, file) {
			return nil, fmt.Errorf("there are two of %s", filepath.Base(path))
		}
		if err := command.CopyLeft(path, file); err != nil {
			return nil, err
		}
		if err := beneath.Remove(path); err != nil {
			return nil, err
		}
		files = append(files, file)
	}
	slices.Sort(files)
	return files, nil
}

// findModules lists the modules in a folder and those below it, sorted.
func findModules(dir string) ([]string, error) {
	var files []string
	err := beneath.WalkDir(dir, func(path string, entry fs.DirEntry, err error) error {
		if err == nil && entry.Type().IsRegular() && filepath.Ext(path) == ".ko" {
			files = append(files, path)
		}
		return err
	})
	slices.Sort(files)
	return files, err
}

// missingModules are the wanted modules that are neither there nor excluded.
func missingModules(want, exclude, files []string) []string {
	have := map[string]bool{}
	for _, path := range files {
		have[strings.TrimSuffix(filepath.Base(path), ".ko")] = true
	}
	var missing []string
	for _, name := range want {
		if !have[name] && !slices.Contains(exclude, name) {
			missing = append(missing, name)
		}
	}
	return missing
}

// tail is a writer that keeps the end of what is written to it.
type tail struct {
	buffer bytes.Buffer
	limit  int // bytes; zero means 8 KiB
}

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	limit := t.limit
	if limit == 0 {
		limit = 8 << 10
	}
	t.buffer.Write(p)
	if excess := t.buffer.Len() - limit; excess > 0 {
		t.buffer.Next(excess)
	}
	return len(p), nil
}

func (t *tail) String() string { return t.buffer.String() }

// lastLines are the last n lines that are not empty, joined with spaces. Of a
// long one, such as a compiler's command, the beginning will do.
func (t *tail) lastLines(n int) string { return lastLines(t.String(), n) }

func lastLines(text string, n int) string {
	var lines []string
	for line := range strings.Lines(text) {
		if line = strings.TrimSpace(line); line != "" {
			lines = append(lines, line[:min(len(line), 300)])
		}
	}
	return strings.Join(lines[max(0, len(lines)-n):], " ")
}

// lastLogLines are the last n lines of a log file; none of one that is not there.
func lastLogLines(path string, n int) string {
	text, err := beneath.ReadFile(path)
	if err != nil {
		return ""
	}
	return lastLines(string(text), n)
}
