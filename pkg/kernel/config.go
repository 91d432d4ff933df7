package kernel

import (
	"bytes"
	"compress/gzip"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"regexp"
	"strings"
)

// configLimit bounds a config once unpacked. The largest known are 300 KB.
const configLimit = 2 << 20

// Config is a kernel's .config, as its build wrote it.
type Config struct {
	// Text is the file, uncompressed.
	Text []byte `json:"-"`
	// Version is the kernel version in its header ("6.1.174"), the one whose
	// source the kernel was made of; empty where there is no such header.
	Version string `json:"version,omitempty"`
	// Digest is sha256:HEX over the lines that set or unset an option, so
	// that comments and dates do not count.
	Digest string `json:"digest"`
	// From is the file it was read from: "proc/config.gz".
	From string `json:"from"`
}

var (
	// The header's architecture was once a machine ("Linux/x86_64"), and its
	// first words have changed too: "Linux kernel version: 2.6.32".
	configHeader = regexp.MustCompile(`^# Linux/\S+ (\S+) Kernel Configuration\s*$`)
	configSet    = regexp.MustCompile(`^CONFIG_[A-Za-z0-9_]+=`)
	configUnset  = regexp.MustCompile(`^# CONFIG_[A-Za-z0-9_]+ is not set$`)
)

// ParseConfig reads a kernel config, plain or gzip'ed.
func ParseConfig(data []byte) (Config, error) {
	text, err := gunzip(data)
	if err != nil {
		return Config{}, err
	}
	c := Config{Text: text}
	digest, options := sha256.New(), 0
	for line := range bytes.Lines(text) {
		line = bytes.TrimRight(line, " \t\r\n")
		switch {
		case configSet.Match(line), configUnset.Match(line):
			options++
			digest.Write(line)
			digest.Write([]byte{'\n'})
		case len(line) > 0 && line[0] != '#':
			return Config{}, fmt.Errorf("%.60q is no line of a kernel config", line)
		case c.Version == "":
			if m := configHeader.FindSubmatch(line); m != nil {
				c.Version = string(m[1])
			}
		}
	}
	if options == 0 {
		return Config{}, errors.New("no CONFIG_ line in it")
	}
	c.Digest = "sha256:" + hex.EncodeToString(digest.Sum(nil))
	return c, nil
}

// gunzip unpacks data if it is gzip and returns it as it is otherwise.
func gunzip(data []byte) ([]byte, error) {
	if !bytes.HasPrefix(data, []byte{0x1f, 0x8b}) {
		if len(data) > configLimit {
			return nil, fmt.Errorf("larger than %d bytes", configLimit)
		}
		return data, nil
	}
	z, err := gzip.NewReader(bytes.NewReader(data))
	if err != nil {
		return nil, err
	}
	return readAll(z, configLimit)
}

// Get is the value of an option named without its CONFIG_: "y", "m", a number,
// or a string without its quotes. It is not ok for an option that is not set.
// Of several lines for one option the last counts, as it does for Kconfig.
func (c Config) Get(name string) (value string, ok bool) {
	prefix := "CONFIG_" + name + "="
	unset := "# CONFIG_" + name + " is not set"
	for line := range bytes.Lines(c.Text) {
		text := strings.TrimRight(string(line), " \t\r\n")
		if v, found := strings.CutPrefix(text, prefix); found {
			value, ok = unquote(v), true
		} else if text == unset {
			value, ok = "", false
		}
	}
	return value, ok
}

// Bool says whether an option, named without its CONFIG_, is built in: "y".
func (c Config) Bool(name string) bool {
	value, _ := c.Get(name)
	return value == "y"
}

// Has says whether what an option, named without its CONFIG_, stands for is in the
// kernel or a module of it: "y" or "m".
func (c Config) Has(name string) bool {
	value, _ := c.Get(name)
	return value == "y" || value == "m"
}

// hasModules says whether any part of the kernel was built as a module.
func (c Config) hasModules() bool { return bytes.Contains(c.Text, []byte("=m\n")) }

// matches says whether the config can be the one of the release: its header
// must name the same version. Distributions that keep their release at x.y.0
// while they take in stable updates (Debian's 6.1.0-49-amd64 is made of
// 6.1.174) are compared by their line only.
func (c Config) matches(r Release) bool {
	made, err := ParseRelease(c.Version)
	if err != nil {
		return true // no version to compare, or one of a shape of its own
	}
	major, minor, patch := r.Numbers()
	a, b, p := made.Numbers()
	return a == major && b == minor && (p == patch || patch == 0 && r.Flavour != "")
}
