package live

import (
	"debug/elf"
	"path/filepath"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/image"
)

const (
	modulesFile = "proc/modules"
	moduleDir   = "sys/module"
)

// Main is the module that all others of a driver need.
const Main = "nvidia"

// Family are the modules that a driver package has, as lsmod names them, in the
// order in which they are loaded: each after those that it needs.
var Family = []string{Main, "nvidia_modeset", "nvidia_drm", "nvidia_uvm", "nvidia_peermem"}

// Module is a module that the kernel has now.
type Module struct {
	// Name is as lsmod has it.
	Name string
	// References is how often it is held: by open files and by other modules.
	// It is -1 where the kernel does not count, having no way to unload.
	References int
	// Holders are the modules that hold it, sorted by name. A kernel that
	// cannot unload names none.
	Holders []string
	// Version and SrcVersion are MODULE_VERSION and the digest of its sources;
	// empty where it has none.
	Version, SrcVersion string
	// BuildID is the linker's identifier of that very build, in hexadecimal;
	// empty where it has none.
	BuildID string
	// Live says that it is ready, and not coming or going.
	Live bool
}

// Uses is how often files that are open hold the module.
func (m Module) Uses() int { return m.References - len(m.Holders) }

// State is what a kernel has of modules now.
type State struct {
	// Loaded are the modules by name.
	Loaded map[string]Module
	root   *kernel.Root
}

// Read reads the state of the kernel that the root shows.
func Read(root *kernel.Root) State {
	s := State{Loaded: map[string]Module{}, root: root}
	for _, m := range list(root) {
		s.Loaded[m.Name] = s.describe(m)
	}
	return s
}

// Version is [State.Version] of what the root shows now, without a look at any other module.
func Version(root *kernel.Root) string {
	s := State{Loaded: map[string]Module{}, root: root}
	for _, m := range list(root) {
		if m.Name == Main {
			s.Loaded[Main] = s.describe(m)
		}
	}
	return s.Version()
}

// list is what proc has of the modules.
func list(root *kernel.Root) (all []Module) {
	text, err := root.ReadFile(modulesFile)
	if err != nil {
		return nil
	}
	for line := range strings.Lines(string(text)) {
		// nvidia_uvm 1830912 0 - Live 0xffffffffc080c000 (O)
		// A kernel that cannot unload has "-" for the number and the users.
		fields := strings.Fields(line)
		if len(fields) < 5 {
			continue
		}
		m := Module{Name: fields[0], References: -1, Live: fields[4] == "Live"}
		if n, err := strconv.Atoi(fields[2]); err == nil {
			m.References = n
		}
		all = append(all, m)
	}
	return all
}

// describe adds what sysfs tells of a module.
func (s State) describe(m Module) Module {
	m.Version = s.text(m.Name, "version")
	m.SrcVersion = s.text(m.Name, "srcversion")
	m.Holders = s.root.List(moduleDir + "/" + m.Name + "/holders")
	if note, err := s.root.ReadFile(moduleDir + "/" + m.Name + "/notes/.note.gnu.build-id"); err == nil {
		m.BuildID = image.BuildID(note)
	}
	return m
}

func (s State) text(module, name string) string {
	return s.root.Text(moduleDir + "/" + module + "/" + name)
}

// Unknown is the version of a driver that does not say it.
const Unknown = "unknown"

// Version is the version of the driver that is loaded; "" where none is. A
// driver that says nowhere what it is has the version [Unknown].
func (s State) Version() string {
	m, ok := s.Loaded[Main]
	if !ok {
		return ""
	}
	if m.Version != "" {
		return m.Version
	}
	if v := procVersion(s.root.Text("proc/driver/nvidia/version")); v != "" {
		return v
	}
	return Unknown
}

// procVersion takes the driver's version out of /proc/driver/nvidia/version:
//
//	NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.159.04  Release Build  (user@host)
//	NVRM version: NVIDIA UNIX x86_64 Kernel Module  535.261.03  Thu Jan  1 00:00:00 UTC 1970
func procVersion(text string) string {
	line, _, _ := strings.Cut(text, "\n")
	if !strings.HasPrefix(line, "NVRM version:") {
		return ""
	}
	for _, word := range strings.Fields(line) {
		if before, after, ok := strings.Cut(word, "."); ok && isNumber(before) && isNumber(strings.ReplaceAll(after, ".", "")) {
			return word
		}
	}
	return ""
}

func isNumber(text string) bool {
	_, err := strconv.ParseUint(text, 10, 32)
	return err == nil
}

// Has says whether a module is loaded and ready, or built into the kernel.
func (s State) Has(name string) bool {
	if m, ok := s.Loaded[name]; ok {
		return m.Live
	}
	return s.builtIn(name)
}

// builtIn says whether a module is part of the kernel: as the list that came
// with it says, or since sysfs has it and it is not loaded.
func (s State) builtIn(name string) bool {
	if _, loaded := s.Loaded[name]; loaded {
		return false
	}
	return s.root.Exists(moduleDir+"/"+name) && !s.root.Exists(moduleDir+"/"+name+"/initstate")
}

// Driver are the modules of the driver that are loaded, each after those that
// it needs.
func (s State) Driver() []Module {
	var list []Module
	for _, name := range Family {
		if m, ok := s.Loaded[name]; ok {
			list = append(list, m)
		}
	}
	return list
}

// FileBuildID is the identifier of the build that a module's file is of; ""
// where it has none.
func FileBuildID(path string) string {
	file, err := elf.Open(filepath.Clean(path))
	if err != nil {
		return ""
	}
	defer file.Close()
	section := file.Section(".note.gnu.build-id")
	if section == nil {
		return ""
	}
	note, err := section.Data()
	if err != nil {
		return ""
	}
	return image.BuildID(note)
}
