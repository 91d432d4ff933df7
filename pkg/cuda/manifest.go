package cuda

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Manifest is NVIDIA's list of what is in a driver package, its .manifest.
type Manifest struct {
	// Description is the product as the installer shows it, "NVIDIA
	// Accelerated Graphics Driver for Linux-x86_64".
	Description string
	// Version is the driver's, "535.261.03".
	Version string
	// Modules are the kernel modules that the package promises, without
	// ".ko".
	Modules []string
	// BuildDir is the folder of the module sources that the installer
	// builds by default, "./kernel/"; PrecompiledDir is where it looks for
	// precompiled interfaces first. Both are empty in packages of the 560
	// line and later, whose installer has them built in.
	BuildDir, PrecompiledDir string
	// Files are the package's files, in its order.
	Files []File
}

// File is one line of a manifest: a file of the package.
type File struct {
	// Path is slash-separated, relative to the package's folder.
	Path string
	// Mode is the permissions it is to be installed with.
	Mode fs.FileMode
	// Type is what the file is, "KERNEL_MODULE_SRC". Later packages add
	// types, so any word is one.
	Type string
	// Attributes are the words between the type and the module group, whose
	// meaning depends on the type: an architecture, a destination, the
	// target of a symbolic link.
	Attributes []string
	// Group is the part of the product the file belongs to, "resman" of
	// MODULE:resman; empty where the line names none.
	Group string
}

// Bounds on a manifest, an order of magnitude above a real one's 50 kB in 600
// lines of at most 200 bytes.
const (
	maxManifest     = 4 << 20
	maxManifestLine = 64 << 10
)

// headLines is how many lines of a manifest come before its files.
const headLines = 8

var moduleName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9_-]*$`)

// ParseManifest reads a .manifest. Its first eight lines are the product, its
// version, one unused, the module names, two unused, and the folders of
// sources and of precompiled interfaces; then there is a line a file, up to
// the first empty one: path, octal mode, type, words that depend on the type,
// and a group. (NVIDIA publishes the reader, parse_manifest of its
// nvidia-installer.)
func ParseManifest(r io.Reader) (Manifest, error) {
	// One byte more than allowed tells too long from just right.
	limited := &io.LimitedReader{R: r, N: maxManifest + 1}
	lines := bufio.NewScanner(limited)
	lines.Buffer(nil, maxManifestLine)
	var head []string
	for len(head) < headLines && lines.Scan() {
		head = append(head, strings.TrimSpace(lines.Text()))
	}
	m, err := parseHead(head)
	if err != nil && lines.Err() == nil {
		return Manifest{}, err
	}
	for n := headLines + 1; lines.Scan(); n++ {
		if strings.TrimSpace(lines.Text()) == "" {
			break
		}
		f, err := parseFile(lines.Text())
		if err != nil {
			return Manifest{}, fmt.Errorf("line %d: %w", n, err)
		}
		m.Files = append(m.Files, f)
	}
	if err := lines.Err(); err != nil {
		return Manifest{}, err
	}
	if limited.N <= 0 {
		return Manifest{}, fmt.Errorf("longer than %d MiB", maxManifest>>20)
	}
	return m, nil
}

func parseHead(lines []string) (Manifest, error) {
	if len(lines) < headLines {
		return Manifest{}, fmt.Errorf("ends at line %d, before the first file", len(lines))
	}
	m := Manifest{
		Description:    lines[0],
		Version:        lines[1],
		Modules:        strings.Fields(lines[3]),
		BuildDir:       lines[6],
		PrecompiledDir: lines[7],
	}
	if !versionPattern.MatchString(m.Version) {
		return Manifest{}, fmt.Errorf("line 2: %q is not a driver version", m.Version)
	}
	if len(m.Modules) == 0 {
		return Manifest{}, errors.New("line 4 names no kernel modules")
	}
	for _, name := range m.Modules {
		if !moduleName.MatchString(name) {
			return Manifest{}, fmt.Errorf("line 4: %q is not a module's name", name)
		}
	}
	return m, nil
}

func parseFile(line string) (File, error) {
	words := strings.Fields(line)
	if len(words) < 3 {
		return File{}, fmt.Errorf("%q is not a path, a mode and a type", line)
	}
	name := path.Clean(words[0])
	if !filepath.IsLocal(name) || slices.Contains(strings.Split(words[0], "/"), "..") {
		return File{}, fmt.Errorf("%q is not a path inside the package", words[0])
	}
	mode, err := strconv.ParseUint(words[1], 8, 12)
	if err != nil {
		return File{}, fmt.Errorf("%q is not a mode", words[1])
	}
	f := File{Path: name, Mode: fs.FileMode(mode) & fs.ModePerm, Type: words[2]}
	rest := words[3:]
	if n := len(rest); n > 0 {
		if group, ok := strings.CutPrefix(rest[n-1], "MODULE:"); ok {
			f.Group, rest = group, rest[:n-1]
		}
	}
	if len(rest) > 0 {
		f.Attributes = rest
	}
	return f, nil
}

// inherited is the part of the path that the file keeps where it is installed:
// all of it, but for the leading folders that INHERIT_PATH_DEPTH:N counts.
// (nvidia-installer's manifest.c and files.c.)
func (f File) inherited() string {
	parts := strings.Split(f.Path, "/")
	for _, a := range f.Attributes {
		depth, found := strings.CutPrefix(a, "INHERIT_PATH_DEPTH:")
		if n, err := strconv.Atoi(depth); found && err == nil && 0 <= n && n < len(parts) {
			return path.Join(parts[n:]...)
		}
	}
	return f.Path
}

// hasSourceUnder tells whether the package lists module sources in a folder.
func (m Manifest) hasSourceUnder(folder string) bool {
	return slices.ContainsFunc(m.Files, func(f File) bool {
		return f.Type == kernelModuleSource && strings.HasPrefix(f.Path, folder+"/")
	})
}

// The types of the files that a module build reads.
const (
	kernelModuleSource = "KERNEL_MODULE_SRC"
	dkmsConf           = "DKMS_CONF" // the installer edits it before it builds
)

// firmware is the type of the files that go below /lib/firmware/nvidia/VERSION.
const firmware = "FIRMWARE"

// firmwareFolder is where every package that brings firmware has it.
const firmwareFolder = "firmware"

// buildFiles lists, sorted, the files of the package that modules are made of,
// and published with: the manifest itself, the installer, the modules' sources
// and the firmware.
func (m Manifest) buildFiles() []string {
	names := []string{manifestName, installerName}
	for _, f := range m.Files {
		if f.Type == kernelModuleSource || f.Type == dkmsConf || f.Type == firmware {
			names = append(names, f.Path)
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}
