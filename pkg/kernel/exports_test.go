package kernel

import (
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// Of one kernel, what each source can tell.
var (
	inSymvers = []Symbol{
		{Name: "_printk", Module: "vmlinux", License: LicenseAny, NamespaceKnown: true, CRCKnown: true},
		{Name: "crypto_cipher_setkey", Module: "vmlinux", License: LicenseAny, Namespace: "CRYPTO_INTERNAL", NamespaceKnown: true, CRCKnown: true},
		{Name: "pci_alloc_irq_vectors", Module: "vmlinux", License: LicenseGPL, NamespaceKnown: true, CRCKnown: true},
	}
	withCRCs = []Symbol{
		{Name: "_printk", Module: "vmlinux", License: LicenseAny, NamespaceKnown: true, CRC: 0x01010101, CRCKnown: true},
		{Name: "crypto_cipher_setkey", Module: "vmlinux", License: LicenseAny, Namespace: "CRYPTO_INTERNAL", NamespaceKnown: true, CRC: 0x02020202, CRCKnown: true},
		{Name: "pci_alloc_irq_vectors", Module: "vmlinux", License: LicenseGPL, NamespaceKnown: true, CRC: 0x03030303, CRCKnown: true},
	}
	inKallsyms = []Symbol{
		{Name: "_printk", Module: "vmlinux", License: LicenseAny},
		{Name: "crypto_cipher_setkey", Module: "vmlinux", License: LicenseAny},
		{Name: "pci_alloc_irq_vectors", Module: "vmlinux", License: LicenseGPL},
	}
	inHiddenKallsyms = []Symbol{
		{Name: "_printk", Module: "vmlinux"},
		{Name: "crypto_cipher_setkey", Module: "vmlinux"},
		{Name: "pci_alloc_irq_vectors", Module: "vmlinux"},
	}
)

// exportsCase is a host and what its kernel and modules are found to export.
type exportsCase struct {
	name string
	// kernel is smallKernel unless it is set.
	kernel   func() imagetest.Kernel
	config   string // more of it
	files    func(t *testing.T, k imagetest.Kernel) map[string]string
	symbols  []Symbol
	from     string
	inTree   string
	complete bool
}

// host is the case's, which has files beside what every host has.
func (c exportsCase) host(t *testing.T) map[string]string {
	kernel := c.kernel
	if kernel == nil {
		kernel = smallKernel
	}
	k := kernel()
	k.Config += c.config
	return change(hostFiles(k), c.files(t, k))
}

// kernelCases are the ladder of the kernel's own exports. Sources that are not
// to be read have one more.
func kernelCases() []exportsCase {
	const symvers = smallSymvers
	return []exportsCase{
		{name: "Module.symvers is the first", from: symvers, symbols: inSymvers, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			other := with(k, "of_another_source")
			return map[string]string{symvers: symversText(k), "boot/vmlinuz-" + k.Release: string(other.BzImage(t)), "proc/kallsyms": kallsymsText(other)}
		}},
		{name: "the image is before kallsyms", from: "boot/vmlinuz-6.12.103-flatcar", symbols: inSymvers, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{"boot/vmlinuz-" + k.Release: string(k.BzImage(t)), "proc/kallsyms": kallsymsText(with(k, "of_another_source"))}
		}},
		{name: "a damaged Module.symvers is passed over", from: "boot/vmlinuz-6.12.103-flatcar", symbols: inSymvers, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{symvers: symversText(k, "0x\n"), "boot/vmlinuz-" + k.Release: string(k.BzImage(t))}
		}},
		{name: "kallsyms with its addresses", from: "proc/kallsyms", symbols: inKallsyms, files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{"proc/kallsyms": kallsymsText(k)}
		}},
		{name: "kallsyms without", from: "proc/kallsyms", symbols: inHiddenKallsyms, files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{"proc/kallsyms": hideAddresses(kallsymsText(k))}
		}},
		{name: "an image whose exports cannot be read", from: "proc/kallsyms", symbols: inKallsyms, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			mute := k
			mute.Exports = nil
			return map[string]string{"boot/vmlinuz-" + k.Release: string(mute.BzImage(t)), "proc/kallsyms": kallsymsText(k)}
		}},
		{name: "images of other kernels and none", from: "boot/flatcar/vmlinuz-b", symbols: inSymvers, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			other := with(k, "of_another_kernel")
			other.Release = "6.12.99-flatcar"
			return map[string]string{
				"boot/vmlinuz": "damaged", "boot/vmlinuz-" + other.Release: string(other.BzImage(t)),
				"boot/flatcar/vmlinuz-a": string(other.BzImage(t)), "boot/flatcar/vmlinuz-b": string(k.BzImage(t)),
				"boot/flatcar/initrd": "not a kernel's name",
			}
		}},
		{name: "an image that has its package's version behind its banner", from: "boot/vmlinuz-6.12.103-flatcar", symbols: inSymvers, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			ubuntu := k
			ubuntu.Banner += " (Ubuntu 6.12.0-103.103-generic 6.12.103)"
			return map[string]string{"boot/vmlinuz-" + k.Release: string(ubuntu.BzImage(t)), "proc/kallsyms": kallsymsText(k)}
		}},
		{name: "an image of another build of the release", from: "proc/kallsyms", symbols: inKallsyms, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			other := with(k, "of_another_build")
			other.Banner = strings.Replace(k.Banner, "Aug 10", "Aug 11", 1)
			return map[string]string{"boot/vmlinuz-" + k.Release: string(other.BzImage(t)), "proc/kallsyms": kallsymsText(k)}
		}},
		{name: "CRCs of Module.symvers", kernel: versionedKernel, from: symvers, symbols: withCRCs, files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{symvers: symversText(k)}
		}},
		{name: "a Module.symvers of a kernel without them", kernel: versionedKernel, from: "usr/boot/vmlinuz", symbols: withCRCs, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{symvers: symversText(smallKernel()), "usr/boot/vmlinuz": string(k.BzImage(t))}
		}},
	}
}

// imageCases are where a host may have its kernel's image.
func imageCases() []exportsCase {
	files := []string{smallModules + "vmlinuz"}
	for _, dir := range []string{"boot", "usr/boot", "boot/flatcar", "boot/coreos"} {
		for _, name := range []string{"vmlinuz-6.12.103-flatcar", "vmlinuz-a", "vmlinuz"} {
			files = append(files, dir+"/"+name)
		}
	}
	var cases []exportsCase
	for _, file := range files {
		cases = append(cases, exportsCase{name: file, from: file, symbols: inSymvers, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{file: string(k.BzImage(t))}
		}})
	}
	return cases
}

func TestKernelExports(t *testing.T) {
	t.Parallel()
	for _, c := range slices.Concat(kernelCases(), imageCases()) {
		t.Run(c.name, func(t *testing.T) {
			got := mustDetect(t, openFiles(t, c.host(t)), DetectOptions{}).Exports
			if got.From != c.from {
				t.Errorf("from %s, want %s", got.From, c.from)
			}
			if diff := cmp.Diff(c.symbols, got.Symbols); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if !got.Complete || got.InTree != "" {
				t.Errorf("of a kernel without a module: complete %v, modules of %q", got.Complete, got.InTree)
			}
		})
	}
}

// richExports are what richModule exports, as kernel/drivers/rich-one.ko.
var richExports = []Symbol{
	{Name: "absolute", Module: "rich_one", License: LicenseAny, NamespaceKnown: true, CRC: 0xdeadbeef, CRCKnown: true},
	{Name: "flagged", Module: "rich_one", License: LicenseGPL, NamespaceKnown: true, CRCKnown: true},
	{Name: "free", Module: "rich_one", License: LicenseAny, NamespaceKnown: true, CRC: 0x11111111, CRCKnown: true},
	{Name: "gpl_named", Module: "rich_one", License: LicenseAny, NamespaceKnown: true, CRC: 0x33333333, CRCKnown: true},
	{Name: "only", Module: "rich_one", License: LicenseGPL, Namespace: "RICH", NamespaceKnown: true, CRC: 0x22222222, CRCKnown: true},
}

// drmExports are two of a module that is loaded, and what a kallsyms and sysfs
// tell of them, and of a driver that was not built with the kernel.
const drmLines = "ffffffffc0001000 r __ksymtab_drm_open\t[drm]\n" +
	"ffffffffc000100c r __ksymtab_drm_gem_only\t[drm]\n" +
	"ffffffffc0002000 r __ksymtab_nv_open\t[nvidia]\n"

func drmExports(plain, gpl License) []Symbol {
	return []Symbol{
		{Name: "drm_gem_only", Module: "drm", License: gpl},
		{Name: "drm_open", Module: "drm", License: plain},
	}
}

// loadedDrm is a host whose drm is loaded.
func loadedDrm(k imagetest.Kernel, files map[string]string) map[string]string {
	return change(map[string]string{
		smallSymvers:    symversText(k),
		"proc/kallsyms": kallsymsText(k, drmLines),
		"proc/modules":  "nvidia 56823808 0 - Live 0xffffffffc0002000 (POE)\ndrm 4 1 nvidia, Live 0xffffffffc0001000\n",
	}, files)
}

// moduleCases are the ladder of what the kernel's modules export; the kernel's
// own is from Module.symvers.
func moduleCases() []exportsCase {
	const inTree = "lib/modules/6.12.103-flatcar/kernel"
	const someModules = "CONFIG_DRM=m\n"
	const drmLine = "0x0000beef\tdrm_open\tdrivers/gpu/drm/drm-core\tEXPORT_SYMBOL_GPL\tDRM\n"
	cases := []exportsCase{
		{name: "Module.symvers has them", config: someModules, inTree: smallSymvers, complete: true, symbols: []Symbol{
			{Name: "drm_open", Module: "drm_core", License: LicenseGPL, Namespace: "DRM", NamespaceKnown: true, CRC: 0xbeef, CRCKnown: true},
		}, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{smallSymvers: symversText(k, drmLine), smallDrivers + "rich-one.ko": richModule(t)})
		}},
		{name: "one file that is damaged", config: someModules, inTree: inTree, symbols: richExports, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{smallDrivers + "rich-one.ko": richModule(t), smallDrivers + "zzz.ko.xz": "damaged"})
		}},
		{name: "files that are no modules", config: someModules, inTree: inTree, complete: true, symbols: richExports, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{
				smallDrivers + "rich-one.ko":     richModule(t),
				smallDrivers + "old.ko.disabled": "x", smallDrivers + "a.kobold": "x", smallDrivers + "README": "x",
			})
		}},
		{name: "no file exports anything", config: someModules, inTree: inTree, complete: true, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{smallDrivers + "mute.ko": readString(t, "../modules/testdata/ko/nvidia-drm.ko")})
		}},
		{name: "a capture's list", config: someModules, inTree: inTree, complete: true, symbols: []Symbol{
			{Name: "drm_open", Module: "drm_core", License: LicenseGPL, Namespace: "DRM", NamespaceKnown: true, CRC: 0xbeef, CRCKnown: true},
		}, files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{inTree + ".symvers": drmLine, smallDrivers + "rich-one.ko": richModule(t)})
		}},
		{name: "a capture's list that is damaged", config: someModules, inTree: "proc/kallsyms", symbols: drmExports(LicenseUnknown, LicenseUnknown), files: func(t *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{inTree + ".symvers": "damaged"})
		}},
		{name: "loaded, its tables known", config: someModules, inTree: "proc/kallsyms", symbols: drmExports(LicenseAny, LicenseGPL), files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{
				"sys/module/drm/sections/__ksymtab":     "0xffffffffc0001000\n",
				"sys/module/drm/sections/__ksymtab_gpl": "0xffffffffc000100c\n",
			})
		}},
		{name: "loaded, one table", config: someModules, inTree: "proc/kallsyms", symbols: drmExports(LicenseGPL, LicenseGPL), files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{
				"proc/kallsyms":                         hideAddresses(kallsymsText(k, drmLines)),
				"sys/module/drm/sections/__ksymtab_gpl": "0x0000000000000000\n",
			})
		}},
		{name: "loaded, one table and flags", config: someModules, inTree: "proc/kallsyms", symbols: drmExports(LicenseUnknown, LicenseUnknown), files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{
				"sys/module/drm/sections/__ksymtab":   "0xffffffffc0001000\n",
				"sys/module/drm/sections/__kflagstab": "0xffffffffc0001030\n",
			})
		}},
		{name: "loaded, both tables hidden", config: someModules, inTree: "proc/kallsyms", symbols: drmExports(LicenseUnknown, LicenseUnknown), files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{
				"proc/kallsyms":                         hideAddresses(kallsymsText(k, drmLines)),
				"sys/module/drm/sections/__ksymtab":     "0x0000000000000000\n",
				"sys/module/drm/sections/__ksymtab_gpl": "0x0000000000000000\n",
			})
		}},
		{name: "loaded, a section that cannot be read", config: someModules, inTree: "proc/kallsyms", symbols: drmExports(LicenseAny, LicenseAny), files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return loadedDrm(k, map[string]string{"sys/module/drm/sections/__ksymtab/a-folder": "x"})
		}},
		{name: "none is to be seen", config: someModules, files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{smallSymvers: symversText(k)}
		}},
		{name: "there is none", complete: true, files: func(_ *testing.T, k imagetest.Kernel) map[string]string {
			return map[string]string{smallSymvers: symversText(k)}
		}},
	}
	for _, suffix := range []string{"", ".gz", ".xz", ".zst"} {
		cases = append(cases, exportsCase{name: "rich-one.ko" + suffix, config: someModules, inTree: inTree, complete: true, symbols: richExports,
			files: func(t *testing.T, k imagetest.Kernel) map[string]string {
				return loadedDrm(k, map[string]string{smallDrivers + "rich-one.ko" + suffix: packed(t, richModule(t), suffix)})
			}})
	}
	return cases
}

func TestModuleExports(t *testing.T) {
	t.Parallel()
	for _, c := range moduleCases() {
		t.Run(c.name, func(t *testing.T) {
			got := mustDetect(t, openFiles(t, c.host(t)), DetectOptions{}).Exports
			if got.From != smallSymvers || got.InTree != c.inTree || got.Complete != c.complete {
				t.Errorf("kernel's from %s, modules' from %q, complete %v", got.From, got.InTree, got.Complete)
			}
			if diff := cmp.Diff(sorted(append(c.symbols, inSymvers...)), got.Symbols); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestKernelExportsAreAsGood holds that the two sources that know everything of
// a kernel give targets that compare as one.
func TestKernelExportsAreAsGood(t *testing.T) {
	t.Parallel()
	k := versionedKernel()
	digests := map[string]string{}
	for name, files := range map[string]map[string]string{
		"Module.symvers": {smallSymvers: symversText(k)},
		"image":          {"boot/vmlinuz-a": string(k.BzImage(t))},
	} {
		digests[name] = mustDetect(t, openFiles(t, change(hostFiles(k), files)), DetectOptions{}).Exports.Digest
	}
	if digests["Module.symvers"] != digests["image"] {
		t.Errorf("digests %v", digests)
	}
}

// TestKernelsOwnExportComesFirst: a kernel refuses a module that exports what
// it does itself.
func TestKernelsOwnExportComesFirst(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	root := openFiles(t, change(hostFiles(k), map[string]string{
		smallSymvers: "0x00000000\t_printk\ta_module\tEXPORT_SYMBOL_GPL\t\n" + symversText(k, "0x00000000\tyield\tb\tEXPORT_SYMBOL\t\n", "0x00000000\tyield\ta\tEXPORT_SYMBOL\t\n"),
	}))
	modules := map[string]string{}
	for _, s := range mustDetect(t, root, DetectOptions{}).Exports.Symbols {
		modules[s.Name] = s.Module
	}
	if modules["_printk"] != "vmlinux" || modules["yield"] != "a" {
		t.Errorf("modules %v", modules)
	}
}

func TestModversionsNeedCRCs(t *testing.T) {
	t.Parallel()
	const refused = "detect: kernel 6.12.103-flatcar checks a checksum of every symbol that a module uses (CONFIG_MODVERSIONS=y), and none were found: " +
		"they are in its build tree's Module.symvers and in its image, not in proc/kallsyms. " +
		"Mount the host's /boot (-v /boot:/host/boot:ro), or its /lib/modules where that has 6.12.103-flatcar/build, or name the kernel's image with --kernel-image."
	k, plain, other := versionedKernel(), smallKernel(), versionedKernel()
	other.Release = "6.12.104-flatcar"
	for name, files := range map[string]map[string]string{
		"kallsyms alone":                    {},
		"a Module.symvers without":          {smallSymvers: symversText(plain)},
		"an image without":                  {"boot/vmlinuz-a": string(plain.BzImage(t))},
		"an image of another kernel":        {"boot/vmlinuz-a": string(other.BzImage(t))},
		"a Module.symvers of modules alone": {smallSymvers: "0x01010101\tdrm_open\tdrm\tEXPORT_SYMBOL\t\n"},
	} {
		t.Run(name, func(t *testing.T) {
			host := change(hostFiles(k), map[string]string{"proc/kallsyms": kallsymsText(k)})
			_, err := Detect(t.Context(), openFiles(t, change(host, files)), DetectOptions{})
			if err == nil {
				t.Fatal("no error")
			}
			wantError(t, err, refused)
		})
	}
}
