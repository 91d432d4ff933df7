package cdi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"path/filepath"
	"reflect"
	"regexp"
	"slices"
	"strings"

	specs "tags.cncf.io/container-device-interface/specs-go"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/stage"
)

// Dir is where runtimes look for specifications that stay.
const Dir = "/etc/cdi"

// FileName is the specification's of GPUs, by CDI's custom: vendor and class.
const FileName = "nvidia.com-gpu.json"

// kinds are those that are written, with their files.
var kinds = map[string]string{Kind: FileName, ChannelKind: "nvidia.com-imex-channel.json"}

// Write leaves a specification in the folder dir, which it makes where there is
// none, all at once, and returns its path. It refuses where that folder has one
// of the same kind by somebody else: runtimes then refuse the devices of both.
// (Of two folders, the one that they read last decides.) Errors are of the load
// stage; errors.Is tells fs.ErrExist for that refusal.
func Write(dir string, spec specs.Spec) (string, error) {
	name := kinds[spec.Kind]
	if theirs := rival(dir, spec.Kind); theirs != "" {
		return "", stage.Wrap(stage.Load, fs.ErrExist,
			fmt.Sprintf("%s specifies %s as well, and container runtimes refuse devices that are specified twice, so none is written", theirs, spec.Kind),
			"use that one, which NVIDIA's toolkit made, or remove it and load again")
	}
	var text bytes.Buffer
	enc := json.NewEncoder(&text)
	enc.SetEscapeHTML(false)
	enc.SetIndent("", "  ")
	if err := enc.Encode(spec); err != nil {
		return "", err
	}
	file := filepath.Join(dir, name)
	real, err := makeFolder(dir)
	if err == nil {
		err = atomicfile.WriteFile(filepath.Join(real, name), text.Bytes(), 0o644)
	}
	if err != nil {
		return "", stage.Wrap(stage.Load, err, fmt.Sprintf("the CDI specification cannot be written to %s, so no container runtime knows of the GPUs", dir),
			"mount the host's /etc/cdi, writable, or name another folder with --cdi-dir")
	}
	return file, nil
}

// Sweep removes what a [Write] that was killed left in dir. None runs there meanwhile.
func Sweep(dir string) error {
	var err error
	for _, name := range kinds {
		err = errors.Join(err, atomicfile.Sweep(filepath.Join(resolved(dir), name)))
	}
	return err
}

// makeFolder makes a folder, and returns its path without links. The host's may have some
// in it (/var/run/cdi); what is in a share has none.
func makeFolder(dir string) (string, error) {
	real, err := beneath.Resolve(dir)
	if err == nil {
		return real, beneath.MkdirAll(real, 0o755)
	}
	if !errors.Is(err, fs.ErrNotExist) || dir == filepath.Dir(dir) {
		return "", err
	}
	parent, err := makeFolder(filepath.Dir(dir))
	if err != nil {
		return "", err
	}
	real = filepath.Join(parent, filepath.Base(dir))
	return real, beneath.MkdirAll(real, 0o755)
}

// resolved is a folder's path without links, as far as there is one.
func resolved(dir string) string {
	if real, err := beneath.Resolve(dir); err == nil {
		return real
	}
	return dir
}

// Remove takes away what [Write] left in dir, and nothing else that has its names.
// Errors are of the load stage.
func Remove(dir string) error {
	var err error
	for kind := range kinds {
		err = errors.Join(err, RemoveKind(dir, kind))
	}
	return err
}

// RemoveKind takes away the specification of a kind that [Write] left in dir. Errors are
// of the load stage.
func RemoveKind(dir, kind string) error {
	if !wrote(dir, kind) {
		return nil
	}
	dir = resolved(dir)
	file := filepath.Join(dir, kinds[kind])
	err := beneath.Remove(file)
	if err == nil {
		err = atomicfile.SyncDir(dir)
	} else if errors.Is(err, fs.ErrNotExist) {
		err = nil
	}
	return stage.Wrap(stage.Load, err, fmt.Sprintf("the CDI specification %s cannot be removed", file), "remove it: it names device files that are no more")
}

// maxSpec is far above what a specification takes.
const maxSpec = 4 << 20

// Wrote says whether dir has a specification of the form that [Spec] gives one, which
// nobody else does: the devices of our kind, without hooks, with the files of a driver
// mounted as ours are, and device files of NVIDIA's.
func Wrote(dir string) bool { return wrote(dir, Kind) || wrote(dir, ChannelKind) }

func wrote(dir, kind string) bool {
	f, err := beneath.Open(filepath.Join(resolved(dir), kinds[kind]))
	if err != nil {
		return false
	}
	defer f.Close()
	if info, err := f.Stat(); err != nil || !info.Mode().IsRegular() {
		return false
	}
	var spec specs.Spec
	dec := json.NewDecoder(io.LimitReader(f, maxSpec))
	dec.DisallowUnknownFields()
	if dec.Decode(&spec) != nil || spec.Kind != kind || len(spec.Annotations) > 0 || len(spec.Devices) == 0 {
		return false
	}
	edits := spec.ContainerEdits
	for _, m := range edits.Mounts {
		if !slices.Equal(m.Options, mountOptions) || m.Type != "" {
			return false
		}
	}
	if !slices.Equal(edits.Env, environment) {
		return false
	}
	edits.Env, edits.Mounts = nil, nil
	if !onlyDevices(edits) {
		return false
	}
	return !slices.ContainsFunc(spec.Devices, func(d specs.Device) bool {
		return len(d.Annotations) > 0 || !onlyDevices(d.ContainerEdits)
	})
}

// onlyDevices says whether edits have device files of NVIDIA's, by their paths, and
// nothing else.
func onlyDevices(edits specs.ContainerEdits) bool {
	for _, n := range edits.DeviceNodes {
		if !reflect.DeepEqual(*n, specs.DeviceNode{Path: n.Path}) || !strings.HasPrefix(n.Path, "/dev/nvidia") {
			return false
		}
	}
	edits.DeviceNodes = nil
	return reflect.DeepEqual(edits, specs.ContainerEdits{})
}

// kindLine is a specification's kind, in YAML or JSON.
func kindLine(kind string) *regexp.Regexp {
	return regexp.MustCompile(`["']?\bkind["']?\s*:\s*["']?` + regexp.QuoteMeta(kind) + `["']?\s*(,|\}|#|\n|$)`)
}

// rival is the file in a folder that specifies a kind of ours and is not ours; ""
// where there is none.
func rival(dir, kind string) string {
	line := kindLine(kind)
	for _, pattern := range []string{"*.json", "*.yaml"} { // what runtimes read
		files, _ := beneath.Glob(resolved(dir), pattern)
		for _, file := range files {
			if filepath.Base(file) == kinds[kind] && (wrote(dir, kind) || kind == Kind && !theirs(file)) {
				continue
			}
			if text, err := readFile(file); err == nil && line.Match(text) {
				return file
			}
		}
	}
	return ""
}

// readFile reads a specification; the host's may be a link.
func readFile(file string) ([]byte, error) {
	file, err := beneath.Resolve(file)
	if err != nil {
		return nil, err
	}
	return beneath.ReadFile(file)
}

// theirs says whether a file of our name has what ours never has, hooks, which
// NVIDIA's always has.
func theirs(file string) bool {
	text, err := readFile(file)
	if err != nil {
		return false
	}
	var spec specs.Spec
	return json.Unmarshal(text, &spec) != nil || len(spec.ContainerEdits.Hooks) > 0
}
