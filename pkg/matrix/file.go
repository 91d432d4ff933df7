package matrix

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"strings"

	"sigs.k8s.io/yaml"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/stage"
)

// File is what to build, as YAML or JSON has it. The names of its fields are those of
// the options of `builder build`.
type File struct {
	// Kernels and Drivers are combined, each with each. There is at least one of both.
	Kernels []Kernel `json:"kernels"`
	Drivers []Driver `json:"drivers"`
}

// Kernel is a kernel to build for. It is named by one of Flatcar, HostRoot and
// KernelImage, or by HostRoot and KernelImage together. In a file, plain text is a
// Flatcar release.
type Kernel struct {
	// Name is what the table calls it; empty is how it is named.
	Name              string `json:"name"`
	Flatcar           string `json:"flatcar"`
	HostRoot          string `json:"host-root"`
	KernelImage       string `json:"kernel-image"`
	KernelImageSHA256 string `json:"kernel-image-sha256"`
	KernelImageSHA512 string `json:"kernel-image-sha512"`
	Source            string `json:"source"`
	SourceSHA256      string `json:"source-sha256"`
	SourceRef         string `json:"source-ref"`
	SourceCommit      string `json:"source-commit"`
	SourcePatches     string `json:"source-patches"`
}

// Driver is a driver to build. In a file, plain text is its version.
type Driver struct {
	// Name is what the table calls it; empty is its version, and its form where that
	// is given.
	Name       string `json:"name"`
	Version    string `json:"driver-version"`
	SHA256     string `json:"driver-sha256"`
	Patches    string `json:"driver-patches"`
	ModuleType string `json:"module-type"`
}

// UnmarshalJSON implements json.Unmarshaler.
func (k *Kernel) UnmarshalJSON(text []byte) error {
	type fields Kernel
	plain, err := unmarshal(text, (*fields)(k))
	k.Flatcar = cmp.Or(k.Flatcar, plain)
	return err
}

// UnmarshalJSON implements json.Unmarshaler.
func (d *Driver) UnmarshalJSON(text []byte) error {
	type fields Driver
	plain, err := unmarshal(text, (*fields)(d))
	d.Version = cmp.Or(d.Version, plain)
	return err
}

// unmarshal reads an object into fields, all of which have to be known there, or returns
// a plain text. A number without a point is one, too: 580 is a line of drivers. With a
// point YAML would have lost its last zeros.
func unmarshal(text []byte, fields any) (plain string, err error) {
	switch c := text[0]; {
	case c == '{':
		d := json.NewDecoder(bytes.NewReader(text))
		d.DisallowUnknownFields()
		return "", d.Decode(fields)
	case c == '"':
		return plain, json.Unmarshal(text, &plain)
	case c >= '0' && c <= '9' && !bytes.ContainsAny(text, ".eE"):
		return string(text), nil
	}
	return "", fmt.Errorf("%s has to be in quotes, or an object", text)
}

// maxFile bounds a matrix's file, in bytes.
const maxFile = 1 << 20

// MaxCells bounds how many builds a file asks for.
const MaxCells = 10_000

const fileHint = "write it as docs/matrix.md has it"

// Read reads a matrix's file. Relative paths in it are from its folder. Errors are of
// the stage usage.
func Read(path string) (File, error) {
	refuse := func(err error) (File, error) {
		return File{}, stage.Wrap(stage.Usage, err, fmt.Sprintf("%s is no matrix of kernels and drivers", path), fileHint)
	}
	text, err := readFile(path)
	if err != nil {
		return refuse(err)
	}
	var f File
	if err := yaml.UnmarshalStrict(text, &f); err != nil {
		return refuse(errors.New(strings.TrimPrefix(err.Error(), "error unmarshaling JSON: ")))
	}
	if err := f.complete(filepath.Dir(path)); err != nil {
		return refuse(err)
	}
	return f, nil
}

// readFile reads a file that may be in a share.
func readFile(path string) ([]byte, error) {
	path, err := beneath.Resolve(path)
	if err != nil {
		return nil, err
	}
	file, err := beneath.Open(path)
	if err != nil {
		return nil, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxFile+1))
	if err == nil && len(text) > maxFile {
		err = fmt.Errorf("it is larger than %d bytes", maxFile)
	}
	return text, err
}

// complete fills in names and folders, and refuses what is not whole, or twice the same.
func (f *File) complete(dir string) error {
	if len(f.Kernels) == 0 || len(f.Drivers) == 0 {
		return errors.New("it has to name at least one of kernels and one of drivers")
	}
	if cells := len(f.Kernels) * len(f.Drivers); cells > MaxCells {
		return fmt.Errorf("it asks for %d builds, of at most %d", cells, MaxCells)
	}
	seen := map[string]bool{}
	for i := range f.Kernels {
		k := &f.Kernels[i]
		if k.Flatcar == "" && k.HostRoot == "" && k.KernelImage == "" {
			return fmt.Errorf("kernel %d is none: it needs flatcar, host-root or kernel-image", i+1)
		}
		k.Name = cmp.Or(k.Name, k.Flatcar, k.HostRoot, filepath.Base(k.KernelImage))
		if seen[k.Name] {
			return fmt.Errorf("two kernels are called %s", k.Name)
		}
		seen[k.Name] = true
		for _, path := range []*string{&k.HostRoot, &k.KernelImage, &k.Source, &k.SourcePatches} {
			*path = from(dir, *path)
		}
	}
	clear(seen)
	for i := range f.Drivers {
		d := &f.Drivers[i]
		if d.Version == "" {
			return fmt.Errorf("driver %d has no driver-version", i+1)
		}
		d.Name = cmp.Or(d.Name, strings.TrimSpace(d.Version+" "+d.ModuleType))
		if seen[d.Name] {
			return fmt.Errorf("two drivers are called %s", d.Name)
		}
		seen[d.Name] = true
		d.Patches = from(dir, d.Patches)
	}
	return nil
}

// from is a path as seen from the folder dir, where it is a relative one.
func from(dir, path string) string {
	if path == "" || filepath.IsAbs(path) || strings.Contains(path, "://") {
		return path
	}
	return filepath.Join(dir, path)
}

// options are those of one cell's build, of which base are what all have in common.
func (k Kernel) options(d Driver, base job.Options) job.Options {
	o := base
	o.Host.Root, o.Host.Image, o.Host.Flatcar = k.HostRoot, k.KernelImage, k.Flatcar
	o.Host.ImageSHA256, o.Host.ImageSHA512 = k.KernelImageSHA256, k.KernelImageSHA512
	o.Source.From = cmp.Or(k.Source, o.Source.From)
	o.Source.SHA256 = cmp.Or(k.SourceSHA256, o.Source.SHA256)
	o.Source.Ref = cmp.Or(k.SourceRef, o.Source.Ref)
	o.Source.Commit = cmp.Or(k.SourceCommit, o.Source.Commit)
	o.SourcePatches = cmp.Or(k.SourcePatches, o.SourcePatches)
	o.DriverVersion, o.DriverSHA256 = d.Version, d.SHA256
	o.DriverPatches = cmp.Or(d.Patches, o.DriverPatches)
	o.ModuleType = cmp.Or(d.ModuleType, o.ModuleType)
	return o
}
