package drift

import (
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestCompare(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, host, tree string
		want             []string
	}{
		{
			name: "only the tools",
			host: "CONFIG_CC_VERSION_TEXT=\"gcc-12 (Debian 12.2.0) 12.2.0\"\nCONFIG_PAHOLE_VERSION=124\nCONFIG_GCC_ASM_GOTO_OUTPUT_BROKEN=y\nCONFIG_NR_CPUS=512\n",
			tree: "CONFIG_CC_VERSION_TEXT=\"gcc-13 (Debian 13.3.0) 13.3.0\"\nCONFIG_CC_HAS_SLS=y\n# CONFIG_SLS is not set\nCONFIG_NR_CPUS=512\n",
		},
		{
			name: "Flatcar's tree, made before the image's firmware is named",
			host: "CONFIG_EXTRA_FIRMWARE=\"intel-ucode/06-55-04 intel-ucode/06-8f-08\"\nCONFIG_EXTRA_FIRMWARE_DIR=\"/build/amd64-usr/lib/firmware\"\nCONFIG_SMP=y\n",
			tree: "CONFIG_EXTRA_FIRMWARE=\"\"\nCONFIG_SMP=y\n",
		},
		{
			name: "pahole is missing",
			host: "CONFIG_DEBUG_INFO_BTF=y\nCONFIG_DEBUG_INFO_BTF_MODULES=y\nCONFIG_PAHOLE_HAS_SPLIT_BTF=y\n",
			tree: "# CONFIG_DEBUG_INFO_BTF is not set\n",
			want: []string{
				"DEBUG_INFO_BTF is y on the host and n in the tree",
				"DEBUG_INFO_BTF_MODULES is y on the host and n in the tree",
			},
		},
		{
			name: "another value",
			host: "CONFIG_NR_CPUS=512\n", tree: "CONFIG_NR_CPUS=8192\n",
			want: []string{"NR_CPUS is 512 on the host and 8192 in the tree"},
		},
		{
			name: "a module became part of the kernel",
			host: "CONFIG_DRM=m\n", tree: "CONFIG_DRM=y\n",
			want: []string{"DRM is m on the host and y in the tree"},
		},
		{
			name: "switched on where the host never heard of it",
			host: "", tree: "CONFIG_MITIGATION_RETHUNK=y\n# CONFIG_KCSAN is not set\n",
			want: []string{"MITIGATION_RETHUNK is n on the host and y in the tree"},
		},
		{
			name: "another kind of compiler",
			host: "CONFIG_CC_IS_CLANG=y\nCONFIG_CFI_CLANG=y\n", tree: "CONFIG_CC_IS_GCC=y\n",
			want: []string{
				"CC_IS_CLANG is y on the host and n in the tree",
				"CC_IS_GCC is n on the host and y in the tree",
				"CFI_CLANG is y on the host and n in the tree",
			},
		},
		{
			name: "symbol versions are no version of a tool",
			host: "CONFIG_MODVERSIONS=y\nCONFIG_ASM_MODVERSIONS=y\n", tree: "",
			want: []string{"MODVERSIONS is y on the host and n in the tree"},
		},
		{
			name: "arm64's vDSO of 32 bits, and what it is for",
			host: "CONFIG_COMPAT=y\nCONFIG_COMPAT_VDSO=y\nCONFIG_GENERIC_COMPAT_VDSO=y\nCONFIG_THUMB2_COMPAT_VDSO=y\n", tree: "",
			want: []string{"COMPAT is y on the host and n in the tree"},
		},
		{
			name: "what a published config leaves out, and the release",
			host: "CONFIG_LOCALVERSION=\"-other\"\n",
			tree: "CONFIG_BUILD_SALT=\"\"\nCONFIG_LOCALVERSION=\"-coreos\"\nCONFIG_MODULE_SIG_KEY=\"certs/signing_key.pem\"\nCONFIG_MODULE_SIG_ALL=y\nCONFIG_CRYPTO_FIPS_NAME=\"\"\n",
		},
		{
			name: "auto.conf, with and without quotes",
			host: "CONFIG_LSM=\"landlock,yama\"\nCONFIG_CMDLINE=\"a=\\\"b\\\"\"\nCONFIG_A=\"\"\n",
			tree: "CONFIG_LSM=landlock,yama\nCONFIG_CMDLINE=a=\"b\"\nCONFIG_A=\n",
		},
		{
			name: "without the kernel's Rust, what follows from it elsewhere is a change",
			host: "CONFIG_RUST=y\nCONFIG_RUST_OVERFLOW_CHECKS=y\nCONFIG_HID_THRUSTMASTER=m\nCONFIG_AUXILIARY_BUS=y\n", tree: "CONFIG_X86_NATIVE_CPU=y\n",
			want: []string{
				"AUXILIARY_BUS is y on the host and n in the tree",
				"HID_THRUSTMASTER is m on the host and n in the tree",
				"X86_NATIVE_CPU is n on the host and y in the tree",
			},
		},
		{
			name: "of two kernels with Rust everything counts",
			host: "CONFIG_RUST=y\nCONFIG_RUST_OVERFLOW_CHECKS=y\n", tree: "CONFIG_RUST=y\n",
			want: []string{"RUST_OVERFLOW_CHECKS is y on the host and n in the tree"},
		},
		{
			name: "Rust that the host's kernel has not",
			host: "", tree: "CONFIG_RUST=y\n",
			want: []string{"RUST is n on the host and y in the tree"},
		},
		{
			name: "the last line for an option counts",
			host: "CONFIG_A=y\n# CONFIG_A is not set\nCONFIG_B=n\n", tree: "",
		},
	} {
		t.Run(test.name, func(t *testing.T) {
			var got []string
			for _, c := range Compare([]byte(test.host), []byte(test.tree)) {
				got = append(got, c.String())
			}
			if diff := cmp.Diff(test.want, got); diff != "" {
				t.Errorf("changes (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLosesRust(t *testing.T) {
	t.Parallel()
	const with, without = "CONFIG_RUST=y\n", "# CONFIG_RUST is not set\nCONFIG_RUST_IS_AVAILABLE=y\n"
	for _, test := range []struct {
		host, tree string
		want       bool
	}{{with, without, true}, {with, "", true}, {with, with, false}, {without, with, false}, {without, without, false}} {
		if got := LosesRust([]byte(test.host), []byte(test.tree)); got != test.want {
			t.Errorf("from %q to %q: %v", test.host, test.tree, got)
		}
	}
}

// Configs of Debian's kernels, as the lines in which they differ from what
// kbuild of another Debian made of them; testdata/README says how.
func TestNoFalseAlarms(t *testing.T) {
	t.Parallel()
	names, err := filepath.Glob("testdata/*.host")
	if err != nil || len(names) == 0 {
		t.Fatalf("no recorded configs: %v", err)
	}
	for _, name := range names {
		host, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		trees, err := filepath.Glob(name[:len(name)-len(".host")] + "-*.tree")
		if err != nil || len(trees) == 0 {
			t.Fatalf("no tree for %s: %v", name, err)
		}
		for _, tree := range trees {
			text, err := os.ReadFile(tree)
			if err != nil {
				t.Fatal(err)
			}
			if changes := Compare(host, text); len(changes) != 0 {
				t.Errorf("%s: %v", tree, changes)
			}
		}
	}
}
