package lab

import (
	"bytes"
	"context"
	"debug/elf"
	_ "embed"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/internal/ko"
)

//go:embed scripts/stub.c
var stubSource string

// Stub is a module that exports exactly what an nvidia.ko does, under the same
// licence and with the same CRCs, and that stays in a kernel without a GPU.
type Stub struct {
	// By is the run that made the nvidia.ko: the stub is built in its image,
	// against the tree that its share has prepared for a kernel of the
	// release Release.
	By      Builder
	Release string
	// NVIDIA is the nvidia.ko's file, Driver what it was built from, and
	// Compiler by which, "gcc-12".
	NVIDIA   string
	Driver   Driver
	Compiler string
}

// Build makes the module, a file of dir, which must be empty.
func (s Stub) Build(ctx context.Context, dir string) (string, error) {
	module, err := ko.Open(s.NVIDIA)
	if err != nil {
		return "", err
	}
	for name, content := range map[string]string{
		"nvidia_stub.c": stubSource,
		"exports.h":     stubExports(module),
		"Kbuild":        "obj-m := nvidia_stub.o\nccflags-y := -I/driver/kernel/common/inc\n",
	} {
		if err := os.WriteFile(filepath.Join(dir, name), []byte(content), 0o644); err != nil {
			return "", err
		}
	}
	mounts := []string{s.By.Share + ":/opt/share", s.Driver.Folder + ":/driver"}
	if s.By.HostRoot != "" {
		mounts = append(mounts, s.By.HostRoot+":/host")
	}
	build := container{
		image:  s.By.image(),
		script: fmt.Sprintf("make -C /opt/share/.builder/prepared/%s-* M=/out CC=%s %s modules 2>&1\n", s.Release, s.Compiler, s.cross()),
		out:    dir,
		mounts: mounts,
	}
	if err := build.run(ctx); err != nil {
		return "", err
	}
	stub := filepath.Join(dir, "nvidia_stub.ko")
	return stub, setCRCs(stub, module.Exports)
}

// cross are make's arguments for a cross compiler of arm64's.
func (s Stub) cross() string {
	prefix, _, found := strings.Cut(s.Compiler, "gcc-")
	if !found || prefix == "" {
		return ""
	}
	return "ARCH=" + Arm64 + " CROSS_COMPILE=" + prefix
}

// stubExports is C that exports the module's symbols, each by its class.
func stubExports(module ko.File) string {
	var out bytes.Buffer
	for _, e := range module.Exports {
		export := "EXPORT_SYMBOL"
		if e.GPL {
			export = "EXPORT_SYMBOL_GPL"
		}
		if e.Name == "nvidia_get_rm_ops" {
			fmt.Fprintf(&out, "%s(%s);\n", export, e.Name)
		} else {
			fmt.Fprintf(&out, "ANSWER(%s, %s);\n", e.Name, export)
		}
	}
	fmt.Fprintf(&out, "MODULE_LICENSE(%q);\n", module.Value("license"))
	return out.String()
}

// setCRCs gives a module's exports the CRCs of others of the same names:
// genksyms made them of the types that the stub's source has. Since Linux 5.19 a
// label __crc_NAME leads to the CRC, and before it is its value.
func setCRCs(file string, exports []ko.Export) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	module, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	symbols, err := module.Symbols()
	if err != nil {
		return fmt.Errorf("%s: %w", file, err)
	}
	labels := map[string]int{}
	for i, s := range symbols {
		labels[s.Name] = i
	}
	const entry, value = 24, 8 // of an Elf64_Sym
	table := module.SectionByType(elf.SHT_SYMTAB)
	for _, e := range exports {
		if !e.HasCRC {
			continue
		}
		i, ok := labels["__crc_"+e.Name]
		switch {
		case ok && symbols[i].Section == elf.SHN_ABS:
			at := table.Offset + uint64(i+1)*entry + value // debug/elf leaves the first one out
			module.ByteOrder.PutUint64(content[at:], uint64(e.CRC))
		case ok && int(symbols[i].Section) < len(module.Sections):
			at := module.Sections[symbols[i].Section].Offset + symbols[i].Value
			module.ByteOrder.PutUint32(content[at:], e.CRC)
		default:
			return fmt.Errorf("%s has no CRC for %s", file, e.Name)
		}
	}
	return os.WriteFile(file, content, 0o644)
}
