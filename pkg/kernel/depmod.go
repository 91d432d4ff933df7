package kernel

import (
	"errors"
	"fmt"
	"path"
	"strings"
)

// exportIndex is what depmod's lists say of the modules that came with a kernel:
// the names that each exports, by the module's name.
type exportIndex map[string][]string

// readIndex reads modules.symbols, where it is of the modules that are there: it
// and modules.dep are no older than any of them, and modules.dep lists just these
// files. It is nil where it cannot be relied on, and why is in the error.
func readIndex(root *Root, r Release, m moduleFiles) (exportIndex, error) {
	folder := "lib/modules/" + r.Full + "/"
	var texts [2][]byte
	for i, name := range []string{"modules.symbols", "modules.dep"} {
		changed, err := root.Changed(folder + name)
		if err != nil {
			return nil, err
		}
		for _, file := range m.list {
			if file.changed > changed {
				return nil, fmt.Errorf("%s is older than %s", name, file.name)
			}
		}
		if texts[i], err = root.ReadFile(folder + name); err != nil {
			return nil, err
		}
	}
	names := map[string]bool{}
	files := map[string]bool{}
	for _, file := range m.list {
		names[ModuleName(file.name)] = true
		files[strings.TrimPrefix(file.name, folder)] = true
	}
	if err := sameFiles(texts[1], files); err != nil {
		return nil, err
	}
	return parseIndex(texts[0], names)
}

// sameFiles compares the files that a modules.dep lists below kernel/, in lines
// "FILE: NEEDED…", with those that are there.
func sameFiles(dep []byte, files map[string]bool) error {
	listed := 0
	for line := range strings.Lines(string(dep)) {
		name, _, ok := strings.Cut(line, ":")
		switch {
		case !ok || !strings.HasPrefix(name, "kernel/"): // "extra/", "updates/"
		case !files[name]:
			return fmt.Errorf("modules.dep lists %s, which is not there", name)
		default:
			listed++
		}
	}
	if listed != len(files) {
		return fmt.Errorf("modules.dep lists %d of %d modules", listed, len(files))
	}
	return nil
}

// parseIndex reads the lines of a modules.symbols, "alias symbol:NAME MODULE",
// that are of some modules.
func parseIndex(text []byte, modules map[string]bool) (exportIndex, error) {
	index := exportIndex{}
	n := 0
	for line := range strings.Lines(string(text)) {
		fields := strings.Fields(line)
		if len(fields) == 0 || fields[0] == "#" {
			continue
		}
		if len(fields) != 3 || fields[0] != "alias" || !strings.HasPrefix(fields[1], "symbol:") {
			return nil, fmt.Errorf("modules.symbols has a line %.80q", line)
		}
		if n++; n > exportsLimit {
			return nil, fmt.Errorf("modules.symbols has more than %d exports", exportsLimit)
		}
		s := Symbol{Name: strings.TrimPrefix(fields[1], "symbol:"), Module: ModuleName(fields[2])}
		if !s.listable() {
			return nil, fmt.Errorf("modules.symbols has a line %.80q", line)
		}
		// A name that no symbol has is of a namespace: "module:kvm-intel".
		if modules[s.Module] && !strings.ContainsAny(s.Name, ":,-") {
			index[s.Module] = append(index[s.Module], s.Name)
		}
	}
	if len(index) == 0 {
		return nil, errors.New("modules.symbols has no export of any of them")
	}
	return index, nil
}

// divide splits the modules into those whose files are to be read, and the exports
// of the others that have any, of which no more than the names is known; among
// these are names of namespaces.
func (x exportIndex) divide(m moduleFiles, needed func(file string) bool) (read moduleFiles, named []Symbol, unread []string) {
	read.whole = m.whole
	for _, file := range m.list {
		module := ModuleName(file.name)
		names := x[module]
		switch {
		case len(names) == 0:
		case needed(file.inKernel()):
			read.list = append(read.list, file)
		default:
			unread = append(unread, module)
			for _, name := range names {
				named = append(named, Symbol{Name: name, Module: module})
			}
		}
	}
	return read, named, unread
}

// agrees says whether modules that were read export what the index says. Beside
// the names of exports it has those of their namespaces: of a module without
// symbol versions depmod lists all strings of __ksymtab_strings.
func (x exportIndex) agrees(read moduleFiles, symbols []Symbol) error {
	left := map[[2]string]bool{}
	for _, file := range read.list {
		module := ModuleName(file.name)
		for _, name := range x[module] {
			left[[2]string{module, name}] = true
		}
	}
	for _, s := range symbols {
		if _, listed := left[[2]string{s.Module, s.Name}]; !listed {
			return fmt.Errorf("modules.symbols does not have %s of %s", s.Name, s.Module)
		}
	}
	for _, s := range symbols {
		delete(left, [2]string{s.Module, s.Name})
		delete(left, [2]string{s.Module, s.Namespace})
	}
	for key := range left {
		return fmt.Errorf("modules.symbols has %s of %s, which does not export it", key[1], key[0])
	}
	return nil
}

// inKernel is the file's path below kernel/: "drivers/gpu/drm/drm.ko.xz".
func (f moduleFile) inKernel() string {
	_, name, _ := strings.Cut(f.name, "/kernel/")
	return path.Clean(name)
}
