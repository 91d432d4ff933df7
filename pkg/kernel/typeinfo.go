package kernel

import (
	"context"
	"fmt"
	"os"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/ko"
	"github.com/k8sp/cuda/pkg/kernel/types"
)

// btfFolder has the type information of the kernel that runs, in the file vmlinux,
// and of its modules that are loaded.
const btfFolder = "sys/kernel/btf"

// btfFile is the running kernel's type information.
const btfFile = btfFolder + "/vmlinux"

// TypeInfo is where a kernel's type information (BTF) is: what its structs, unions
// and enums look like, and what its functions take.
type TypeInfo struct {
	// BTF is the kernel's own; nil where it has none, or where none is to be seen.
	BTF []byte `json:"-"`
	// From is where it was read: "sys/kernel/btf/vmlinux".
	From string `json:"from"`
	// Modules are files that hold that of modules of the kernel's own, by the
	// module's name, on this machine: sys/kernel/btf/MODULE, which is that alone, or its
	// .ko.
	Modules map[string]string `json:"-"`
}

// Parse reads the kernel's types, and those of modules of its own where they are to be
// seen. What cannot be read of a module's is left out: nothing is then known of it.
func (t TypeInfo) Parse(modules []string) (*types.Info, error) {
	info, err := types.Parse(t.BTF)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", t.From, err)
	}
	for _, name := range modules {
		raw, err := moduleTypes(t.Modules[name])
		if err == nil && raw != nil {
			_ = info.AddModule(raw)
		}
	}
	return info, nil
}

// moduleTypes reads a file of [TypeInfo.Modules]; nil where it has no type information.
func moduleTypes(file string) ([]byte, error) {
	if isModuleFile(file) {
		return ko.Section(file, ".BTF")
	}
	f, err := beneath.Open(file)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	return readAll(f, fileLimit)
}

// typeInfo finds the kernel's type information. The image is read for it where the
// config says that it is there.
func (s *sources) typeInfo(ctx context.Context, config Config) TypeInfo {
	t := TypeInfo{}
	if len(s.modules.list) > 0 {
		t.Modules = make(map[string]string, len(s.modules.list))
	}
	for _, m := range s.modules.list {
		t.Modules[ModuleName(m.name)] = m.path
	}
	for _, name := range s.root.List(btfFolder) {
		if path, err := s.root.Path(btfFolder + "/" + name); err == nil && name != vmlinux {
			if t.Modules == nil {
				t.Modules = map[string]string{}
			}
			t.Modules[name] = path
		}
	}
	data, err := s.root.ReadFile(btfFile)
	switch {
	case err == nil:
		t.BTF, t.From = data, btfFile
	case !os.IsNotExist(err):
		zerolog.Ctx(ctx).Warn().Err(err).Str("file", btfFile).Msg("the kernel's type information is not read")
	}
	if t.BTF != nil || !config.Bool("DEBUG_INFO_BTF") && s.image == nil {
		return t
	}
	if img := s.kernelImage(ctx); img.Types != nil {
		t.BTF, t.From = img.Types, img.from
	}
	return t
}
