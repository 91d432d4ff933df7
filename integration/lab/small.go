package lab

import (
	"bufio"
	"bytes"
	"context"
	"debug/elf"
	_ "embed"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/internal/decompress"
)

var (
	//go:embed scripts/small.S
	smallSource string
	//go:embed small.go
	smallMaker string
)

// smallModules are the modules that Small makes, by what small.S calls them.
var smallModules = map[string]string{
	"nvidia": "nvidia", "uvm": "nvidia-uvm", "modeset": "nvidia-modeset", "peermem": "nvidia-peermem",
}

// Small makes modules that stand in for NVIDIA's before a kernel's loader, for a
// host whose kernel has no symbol versions: they have the names, the licences and
// exports of four, and nothing else. The kernel needs no headers and no driver that
// compiles for it. The result is a folder; the image is one with a compiler.
func (l *Lab) Small(ctx context.Context, image string, host Host) (string, error) {
	files, err := host.InTree("drm")
	if err != nil {
		return "", err
	}
	shape, err := readShape(files[len(files)-1])
	if err != nil {
		return "", fmt.Errorf("kernel %s: %w", host.Release, err)
	}
	return l.part(ctx, "small-"+host.Release, smallSource+smallMaker+fmt.Sprint(shape), func(dir string) error {
		if err := os.WriteFile(filepath.Join(dir, "small.S"), []byte(smallSource), 0o644); err != nil {
			return err
		}
		script := "shape=(" + strings.Join(shape.defines(), " ") + ")\n"
		for define, name := range smallModules {
			script += fmt.Sprintf("gcc -c -D%s \"${shape[@]}\" -o %s.ko small.S\n", define, name)
		}
		return container{image: image, script: script, out: dir}.run(ctx)
	})
}

// shape is what a module of a kernel's has to look like.
type shape struct {
	vermagic, compiler string
	// size is that of struct module, in which the others are places.
	size, name, init, exit uint64
	// flags says that it has __kflagstab.
	flags bool
}

func (s shape) defines() []string {
	list := []string{
		fmt.Sprintf(`'-DVERMAGIC="%s"'`, s.vermagic), fmt.Sprintf(`'-DCOMPILER="%s"'`, s.compiler),
		fmt.Sprintf("-DSIZE=%d -DNAME_AT=%d -DINIT_AT=%d -DEXIT_AT=%d", s.size, s.name, s.init, s.exit),
	}
	if s.flags {
		list = append(list, "-DFLAGS")
	}
	return list
}

// readShape reads it from one that has an init, an exit and exports: drm.
func readShape(file string) (shape, error) {
	f, err := os.Open(file)
	if err != nil {
		return shape{}, err
	}
	defer f.Close()
	plain, _, err := decompress.Reader(bufio.NewReader(f))
	if err != nil {
		return shape{}, err
	}
	defer plain.Close()
	content, err := io.ReadAll(plain)
	if err != nil {
		return shape{}, err
	}
	module, err := elf.NewFile(bytes.NewReader(content))
	if err != nil {
		return shape{}, err
	}
	return shapeOf(module)
}

func shapeOf(f *elf.File) (s shape, err error) {
	const thisModule = ".gnu.linkonce.this_module"
	var sections [3][]byte
	for i, name := range []string{thisModule, ".modinfo", ".comment"} {
		if sections[i], err = f.Section(name).Data(); err != nil {
			return s, err
		}
	}
	var name string
	for _, tag := range strings.Split(string(sections[1]), "\x00") {
		switch key, value, _ := strings.Cut(tag, "="); key {
		case "vermagic":
			s.vermagic = value
		case "name":
			name = value
		}
	}
	s.compiler, _, _ = strings.Cut(strings.TrimLeft(string(sections[2]), "\x00"), "\x00")
	s.flags = f.Section("__kflagstab") != nil
	s.size = uint64(len(sections[0]))
	at := bytes.Index(sections[0], []byte(name+"\x00"))
	s.name = uint64(max(at, 0))
	symbols, err := f.Symbols()
	if err != nil {
		return s, err
	}
	table, err := f.Section(".rela" + thisModule).Data()
	if err != nil {
		return s, err
	}
	for ; len(table) >= 24; table = table[24:] {
		switch symbols[f.ByteOrder.Uint64(table[8:])>>32-1].Name {
		case "init_module":
			s.init = f.ByteOrder.Uint64(table)
		case "cleanup_module":
			s.exit = f.ByteOrder.Uint64(table)
		}
	}
	if s.vermagic == "" || name == "" || at < 0 || s.init == 0 || s.exit == 0 {
		return s, errors.New("its module drm is like no module that is known")
	}
	return s, nil
}
