package modules

import (
	"cmp"
	"errors"
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/share/publish"
)

// maxModule bounds a module's file. A debug build of the largest driver is
// near a tenth of it.
const maxModule = 2 << 30

// FormatError is a file that is not a kernel module.
type FormatError struct {
	// File is its name, Reason what is wrong with it: "is not ELF".
	File, Reason string
}

// Error is "FILE REASON".
func (e *FormatError) Error() string { return e.File + " " + e.Reason }

// ReadAll reads modules in the order of their paths. A file that is no module
// does not stop it: its Defect says why, for [Gate] to find.
func ReadAll(paths []string) ([]Module, error) {
	mods := make([]Module, 0, len(paths))
	for _, path := range paths {
		m, err := Read(path)
		var format *FormatError
		if errors.As(err, &format) {
			m.Defect = format.Reason
		} else if err != nil {
			return nil, err
		}
		mods = append(mods, m)
	}
	return mods, nil
}

// Read reads the module at path, uncompressed. Of a file that is no module it
// returns the name, size and digest, and a *FormatError.
func Read(path string) (Module, error) {
	f, err := beneath.Open(path)
	if err != nil {
		return Module{}, err
	}
	defer f.Close()
	m := Module{Path: path, File: filepath.Base(path), Name: canonical(filepath.Base(path))}
	info, err := f.Stat()
	if err != nil {
		return m, err
	}
	if !info.Mode().IsRegular() || info.Size() > maxModule {
		return m, &FormatError{m.File, fmt.Sprintf("is not a file of up to %d MiB", maxModule>>20)}
	}
	if m.SHA256, m.Size, err = publish.Digest(f); err != nil {
		return m, fmt.Errorf("read %s: %w", path, err)
	}
	file, err := ko.Parse(f, m.Size)
	var format *ko.FormatError
	if errors.As(err, &format) {
		return m, &FormatError{m.File, format.Reason}
	} else if err != nil {
		return m, err
	}
	m.describe(file)
	if m.Signature, err = readSignature(f, m.Size); err != nil {
		return m, fmt.Errorf("read %s: %w", path, err)
	}
	return m, nil
}

// describe fills m from what its file says.
func (m *Module) describe(file ko.File) {
	m.ELF = file
	if name := file.Value("name"); name != "" {
		m.Name = canonical(name)
	}
	m.Vermagic = file.Value("vermagic")
	m.License = file.Value("license")
	m.Version = file.Value("version")
	m.SrcVersion = file.Value("srcversion")
	m.Firmware = file.Values("firmware")
	for name := range strings.SplitSeq(file.Value("depends"), ",") {
		if name != "" {
			m.Depends = append(m.Depends, canonical(name))
		}
	}
	m.Parameters = parameters(file)
}

// parameters are those that MODULE_PARM_DESC (parm) and module_param
// (parmtype) name, sorted.
func parameters(file ko.File) []Parameter {
	byName := map[string]Parameter{}
	for _, tag := range file.Info {
		if tag.Key != "parm" && tag.Key != "parmtype" {
			continue
		}
		name, text, _ := strings.Cut(tag.Value, ":")
		p := byName[name]
		p.Name = name
		if tag.Key == "parm" {
			p.Description = text
		} else {
			p.Type = text
		}
		byName[name] = p
	}
	var list []Parameter
	for _, p := range byName {
		list = append(list, p)
	}
	slices.SortFunc(list, func(a, b Parameter) int { return cmp.Compare(a.Name, b.Name) })
	return list
}

func sortedSet(names []string) []string {
	slices.Sort(names)
	return slices.Compact(names)
}
