package image

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/spill"
	"github.com/k8sp/cuda/pkg/kernel/types"
)

// MaxSize bounds a kernel image, in bytes. The largest images of distributions
// are 80 MB; a vmlinux with debug sections is larger.
const MaxSize = 512 << 20

// maxPayload bounds what is in one, decompressed: distributions' is 120 MB.
const maxPayload = 512 << 20

// ErrFormat is a file that is not a kernel image of a kind known here.
var ErrFormat = errors.New("not a kernel image")

// Format is the kind of file that a kernel is in.
type Format string

// The formats that [Read] knows.
const (
	BzImage    Format = "bzImage"   // x86's, Documentation/arch/x86/boot.rst
	Vmlinux    Format = "vmlinux"   // ELF
	Arm64Image Format = "Image"     // Documentation/arch/arm64/booting.rst
	EFIZboot   Format = "EFI zboot" // drivers/firmware/efi/libstub/zboot-header.S
)

// Image is what a kernel image tells of its kernel.
type Image struct {
	// Format is the outermost format, but for a plain compression of the
	// file. Compression is the last one peeled: "xz"; empty where none was.
	Format      Format
	Compression string
	// Arch is uname's name for the machine: "x86_64", "aarch64".
	Arch string
	// Release is `uname -r`; Banner the line of /proc/version, which names
	// the compiler. Both are empty where they were not found.
	Release, Banner string
	// Config is the text of an IKCONFIG kernel's .config, nil of another's.
	Config []byte
	// Symbols are the exports of the kernel itself, sorted by name; none
	// where SymbolsKnown is false.
	Symbols      []Symbol
	SymbolsKnown bool
	// NamespacesKnown and CRCsKnown say that these parts of Symbols were
	// read. A kernel too old for namespaces, or built without modversions,
	// is known to have none.
	NamespacesKnown, CRCsKnown bool
	// BuildID is the linker's identifier of this build, in hexadecimal; empty
	// where the image is no ELF inside, or has none.
	BuildID string
	// StructModule is sizeof(struct module) in bytes, 0 where the image has
	// no type information to tell.
	StructModule int64
	// Types is the kernel's type information, its section .BTF; nil where it has
	// none.
	Types []byte
}

// Symbol is one export.
type Symbol struct {
	Name string
	// GPL says that only GPL-compatible modules may use it.
	GPL bool
	// Namespace is the one that a module must import; empty for none.
	Namespace string
	// CRC is the modversions checksum, 0 in a kernel without them.
	CRC uint32
}

// Open reads the kernel image at path.
func Open(ctx context.Context, path string) (Image, error) {
	real, err := beneath.Resolve(path)
	if err != nil {
		return Image{}, fmt.Errorf("%s: %w", path, err)
	}
	f, err := beneath.Open(real)
	if errors.Is(err, beneath.ErrIrregular) {
		return Image{}, fmt.Errorf("%w: %w", ErrFormat, err)
	}
	if err != nil {
		return Image{}, err
	}
	defer f.Close()
	info, err := f.Stat()
	if err != nil {
		return Image{}, err
	}
	if !info.Mode().IsRegular() {
		return Image{}, fmt.Errorf("%s: %w: not a regular file", path, ErrFormat)
	}
	img, err := Read(ctx, f, info.Size())
	if err != nil {
		return Image{}, fmt.Errorf("%s: %w", path, err)
	}
	return img, nil
}

// Read reads a kernel image of size bytes. An error is an [ErrFormat], the
// context's or the reader's; parts of a sound image that cannot be made sense
// of are logged and left unknown.
func Read(ctx context.Context, r io.ReaderAt, size int64) (Image, error) {
	if size > MaxSize {
		return Image{}, fmt.Errorf("%w: %d MiB, of %d allowed", ErrFormat, size>>20, MaxSize>>20)
	}
	data, err := spill.Read(contextReader{ctx, io.NewSectionReader(r, 0, size)}, size)
	if err == nil && int64(len(data.Bytes)) < size {
		err = io.ErrUnexpectedEOF
	}
	if err != nil {
		data.Free()
		return Image{}, err
	}
	img, kernel, err := unwrap(ctx, data)
	defer kernel.Free()
	if err != nil {
		return Image{}, err
	}
	if err := img.describe(ctx, kernel.Bytes); err != nil {
		return Image{}, err
	}
	return img, nil
}

// StructModule is sizeof(struct module) in bytes of the kernel whose type
// information btf is: the content of /sys/kernel/btf/vmlinux.
func StructModule(raw []byte) (int64, error) {
	return types.StructSize(raw, "module", "state", "list", "name")
}

// maxWraps is how deep images are wrapped: a gzip'ed zboot around a flat one.
const maxWraps = 3

// unwrap peels an image to the kernel inside, an ELF vmlinux or a flat Image, and
// frees what was around that.
func unwrap(ctx context.Context, outer spill.Data) (img Image, kernel spill.Data, err error) {
	defer func() { outer.Free() }()
	for range maxWraps {
		var format Format
		var payload []byte
		data := outer.Bytes
		switch {
		case isELF(data), isArm64(data):
			if img.Format == "" {
				img.Format = Vmlinux
				if isArm64(data) {
					img.Format = Arm64Image
				}
			}
			kernel, outer = outer, spill.Data{}
			return img, kernel, nil
		case isBzImage(data):
			format = BzImage
			img.Release, payload, err = bzImage(data)
		case isZboot(data):
			format = EFIZboot
			payload, err = zboot(data)
		default:
			payload = data
		}
		if err != nil {
			return img, spill.Data{}, err
		}
		if format != "" {
			img.Format = format
		}
		var inner spill.Data
		if img.Compression, inner, err = unpack(ctx, payload, maxPayload); err != nil {
			return img, spill.Data{}, err
		}
		outer.Free()
		outer = inner
	}
	return img, spill.Data{}, fmt.Errorf("%w: compressed over and over", ErrFormat)
}

// describe fills img from the kernel itself.
func (img *Image) describe(ctx context.Context, kernel []byte) error {
	var raw []byte
	var unread error
	if isELF(kernel) {
		f, err := parseELF(kernel)
		if err != nil {
			return err
		}
		img.Arch, raw = f.arch, f.section(".BTF")
		img.BuildID = BuildID(f.section(".notes"))
		unread = img.setSymbols(f)
	} else {
		img.Arch, raw = "aarch64", findBTF(kernel)
		unread = img.setFlatSymbols(kernel)
	}
	if unread != nil {
		zerolog.Ctx(ctx).Warn().Err(unread).Msg("the kernel image's exports stay unknown")
	}
	img.Banner = findBanner(kernel)
	if img.Release == "" {
		img.Release = bannerRelease(img.Banner)
	}
	var err error
	if img.Config, err = findConfig(kernel); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the kernel image's configuration is not read")
	}
	if raw != nil {
		if img.StructModule, err = StructModule(raw); err != nil {
			zerolog.Ctx(ctx).Warn().Err(err).Msg("the kernel image's type information is not read")
		} else {
			img.Types = bytes.Clone(raw) // what it is a part of is freed
		}
	}
	return nil
}

// findBanner is the kernel's linux_banner (init/version-timestamp.c), the text
// of /proc/version, without its newline. Since 6.1 there is a second one, for
// the build's own use, that has no number after its "#".
func findBanner(kernel []byte) string {
	const start, limit = "Linux version ", 1024
	found := ""
	for {
		i := bytes.Index(kernel, []byte(start))
		if i < 0 {
			return found
		}
		line := kernel[i:min(len(kernel), i+limit)]
		kernel = kernel[i+len(start):]
		line, _, whole := bytes.Cut(line, []byte("\n"))
		if !whole || !printable(line) || bannerRelease(string(line)) == "" {
			continue
		}
		if found = string(line); !strings.Contains(found, " # ") {
			return found
		}
	}
}

// bannerRelease is the third word of a banner, where it begins as a release
// does: linux_proc_banner, beside the banner, has "%s" there.
func bannerRelease(banner string) string {
	words := strings.Fields(banner)
	if len(words) < 3 || words[2][0] < '0' || words[2][0] > '9' {
		return ""
	}
	return words[2]
}

func printable(text []byte) bool {
	for _, c := range text {
		if c < ' ' || c > '~' {
			return false
		}
	}
	return true
}

// contextReader ends a long read when its context does.
type contextReader struct {
	ctx context.Context
	r   io.Reader
}

func (r contextReader) Read(p []byte) (int, error) {
	if err := r.ctx.Err(); err != nil {
		return 0, err
	}
	return r.r.Read(p)
}
