package drift

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strings"
)

// Change is an option that has another value than in the host's config.
type Change struct {
	// Name is without CONFIG_.
	Name string `json:"name"`
	// Was and Is are its values in the host's config and in the tree's; "n"
	// where it is off or does not exist.
	Was string `json:"was"`
	Is  string `json:"is"`
}

// String is the change in a clause, "DEBUG_INFO_BTF is y on the host and n in
// the tree".
func (c Change) String() string {
	return fmt.Sprintf("%s is %s on the host and %s in the tree", c.Name, c.Was, c.Is)
}

// Compare lists what differs between the host's config and a tree's, sorted by
// name. Either may be a .config or an include/config/auto.conf.
//
// An option that one of them lacks is off there: distributions leave out of a
// published config what names their builders' files, and Kconfig writes down
// only what can be asked. So one that the tree has switched on, and the host's
// config never heard of, is a change; one that it offers and left off is none.
//
// What of the host's kernel is written in Rust is no change where the tree is
// without it; see [LosesRust].
func Compare(host, tree []byte) []Change {
	was, is := options(host), options(tree)
	names := maps.Clone(was)
	maps.Copy(names, is)
	rust := losesRust(was, is)
	var changes []Change
	for _, name := range slices.Sorted(maps.Keys(names)) {
		c := Change{Name: name, Was: value(was, name), Is: value(is, name)}
		switch {
		case c.Was == c.Is, harmless(name):
		case rust && c.Is == "n" && ofRust.MatchString(name):
		default:
			changes = append(changes, c)
		}
	}
	return changes
}

// LosesRust says whether the host's kernel has Rust (CONFIG_RUST) and the tree
// does without, as every tree does where there is no rustc. No C module sees a
// difference: no header and no flag for C depends on RUST, nor on what is built
// with it. What else Kconfig changes on that account is a [Change].
func LosesRust(host, tree []byte) bool { return losesRust(options(host), options(tree)) }

func losesRust(was, is map[string]string) bool {
	return value(was, "RUST") == "y" && value(is, "RUST") == "n"
}

// ofRust are options that depend on RUST in the Kconfig files of 6.18 and 7.3:
// what describes its tools, how Rust code is compiled, and the drivers and other
// parts that are written in it. In headers there is one of them, by which
// include/drm/drm_panic.h declares two functions of DRM's own.
var ofRust = regexp.MustCompile(`^(` + strings.Join([]string{
	`(\w+_)?RUST(_\w+)?`,
	`RUSTC_\w+|BINDGEN_VERSION_TEXT`,
	`NOVA_CORE|DRM_NOVA|DRM_TYR|PWM_TH1520|AMCC_QT2025_PHY`,
	`DRM_PANIC_SCREEN_QR_\w+`,
}, `|`) + `)$`)

// tools are options by which Kconfig only records what it found out of the
// compiler, the assembler, the linker, pahole and rustc. What follows from them
// has an option of its own. Each kind was seen to differ, with nothing else
// that did, between Debian's kernels 5.10, 6.1 and 6.12 and gcc 12, 13 and 14
// of another Debian, or is of that kind in a Kconfig of those kernels.
var tools = regexp.MustCompile(`^(` + strings.Join([]string{
	`(CC|GCC|CLANG|AS|LD|LLD|PAHOLE|RUSTC|RUSTC_LLVM|BINDGEN)_VERSION(_TEXT)?`,
	`(CC|GCC|AS|LD|RUSTC|PAHOLE|TOOLS)_(HAS|HAVE|CAN|SUPPORTS?)_\w+`,
	`AS_(AVX512|SHA1_NI|SHA256_NI|TPAUSE|GFNI|VAES|VPCLMULQDQ|WRUSS)`,
	`(CC_HAS|GCC)_ASM_GOTO_\w+`,                       // and workarounds for compilers that get it wrong
	`(CC|GCC\d*)_NO_(ARRAY_BOUNDS|STRINGOP_OVERFLOW)`, // warnings
	`CC_(STRINGOP_OVERFLOW|IMPLICIT_FALLTHROUGH)`,
	`LD_ORPHAN_WARN(_LEVEL)?`,
	`CC_OPT_\w+`, // spellings of flags
	`HAVE_(KCSAN|KMSAN)_COMPILER`,
	`RUST_IS_AVAILABLE|RUSTC_\w+`,
	`GCC_PLUGINS|PLUGIN_HOSTCC`, // a plugin in use has an option of its own
}, `|`) + `)$`)

// image are options of the kernel's image, its boot and its signing: no header
// that modules include and no flag that they are compiled with depends on them.
var image = map[string]bool{
	// Given by whoever makes the release; prepare compares the release.
	"LOCALVERSION": true, "LOCALVERSION_AUTO": true, "BUILD_SALT": true,
	// Of modules_install, and the builder's files.
	"MODULE_SIG_ALL": true, "MODULE_SIG_KEY": true, "MODULE_SIG_KEY_TYPE_RSA": true, "MODULE_SIG_KEY_TYPE_ECDSA": true,
	"SYSTEM_TRUSTED_KEYS": true, "SYSTEM_REVOCATION_KEYS": true, "INITRAMFS_SOURCE": true,
	// Files that are linked into the image: Flatcar makes its tree for building modules
	// before it names them.
	"EXTRA_FIRMWARE": true, "EXTRA_FIRMWARE_DIR": true,
	// Of a patch that Debian and Flatcar carry and kernel.org does not, "efi:
	// lock down the kernel if booted in secure boot mode": it acts at boot.
	"LOCK_DOWN_IN_EFI_SECURE_BOOT": true,
	// arm64's vDSO for programs of 32 bits, which takes a compiler of its own to make.
	"COMPAT_VDSO": true, "GENERIC_COMPAT_VDSO": true, "THUMB2_COMPAT_VDSO": true,
	// Follows MODVERSIONS, where that is compared.
	"ASM_MODVERSIONS": true,
}

func harmless(name string) bool {
	return image[name] || tools.MatchString(name)
}

// value treats an option that is off, or an empty string, as one that does not
// exist: a published config may lack what Kconfig writes back empty. Strings
// are without their quotes, since auto.conf has none since 6.1.
func value(options map[string]string, name string) string {
	v := options[name]
	if len(v) >= 2 && v[0] == '"' && v[len(v)-1] == '"' {
		v = strings.ReplaceAll(v[1:len(v)-1], `\"`, `"`)
	}
	return cmp.Or(v, "n")
}

// options are the options of a config that are set, without CONFIG_. Of two
// lines for one option the last counts, as it does for Kconfig.
func options(config []byte) map[string]string {
	set := make(map[string]string)
	for line := range bytes.Lines(config) {
		text := strings.TrimSpace(string(line))
		if name, ok := strings.CutPrefix(text, "# CONFIG_"); ok {
			delete(set, strings.TrimSuffix(name, " is not set"))
			continue
		}
		name, value, ok := strings.Cut(text, "=")
		if name, found := strings.CutPrefix(name, "CONFIG_"); ok && found {
			set[name] = value
		}
	}
	return set
}
