package lab

import (
	"bufio"
	"errors"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
)

// mirror is where Debian's packages come from: its main archive and that of
// its security updates.
type mirror struct{ main, security string }

// findMirror returns the mirror that this machine's own apt uses, or the one
// that DEBIAN_MIRROR names.
func findMirror() (mirror, error) {
	if url := os.Getenv("DEBIAN_MIRROR"); url != "" {
		url = strings.TrimSuffix(url, "/")
		return mirror{main: url, security: url + "-security"}, nil
	}
	files, _ := filepath.Glob("/etc/apt/sources.list.d/*") // the pattern is a good one
	var found mirror
	for _, name := range append(files, "/etc/apt/sources.list") {
		if err := found.readFile(name); err != nil && !errors.Is(err, os.ErrNotExist) {
			return mirror{}, err
		}
	}
	if found.main == "" {
		return mirror{}, errors.New("no registry answers and this machine's apt names no Debian mirror: set DEBIAN_MIRROR to the URL of one that ends in /debian")
	}
	if found.security == "" {
		found.security = found.main + "-security"
	}
	return found, nil
}

func (m *mirror) readFile(name string) error {
	file, err := os.Open(name)
	if err != nil {
		return err
	}
	defer file.Close()
	return m.read(file)
}

// source finds the URLs of sources.list(5), in its one-line and deb822 formats.
var source = regexp.MustCompile(`^(?:deb (?:\[.*\] )?|URIs: *)(https?://\S+/debian(-security)?)/?(?:\s|$)`)

// read takes the first mirror of each kind that the file names.
func (m *mirror) read(r io.Reader) error {
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		switch found := source.FindStringSubmatch(lines.Text()); {
		case found == nil:
		case found[2] == "" && m.main == "":
			m.main = found[1]
		case found[2] != "" && m.security == "":
			m.security = found[1]
		}
	}
	return lines.Err()
}
