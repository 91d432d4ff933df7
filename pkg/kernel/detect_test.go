package kernel

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/testkit"
)

var hosts = []string{"coreos", "debian", "flatcar"}

func TestDetect(t *testing.T) {
	t.Parallel()
	for _, host := range hosts {
		t.Run(host, func(t *testing.T) {
			got, err := Detect(t.Context(), recorded(t, host), DetectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			text, err := json.MarshalIndent(got, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			testkit.Golden(t, "target-"+host+".json", append(text, '\n'))
			var symvers bytes.Buffer
			if err := got.Exports.WriteSymvers(&symvers, got.Release); err != nil {
				t.Fatal(err)
			}
			testkit.Golden(t, "symvers-"+host+".txt", symvers.Bytes())
		})
	}
}

// TestDetectRefuses changes one file of a good host at a time. HOST in the
// wanted sentence stands for the root's folder.
func TestDetectRefuses(t *testing.T) {
	t.Parallel()
	const (
		config  = "proc/config.gz"
		release = "proc/sys/kernel/osrelease"
		version = "proc/version"
		mount   = " Mount what of the host tells (-v /boot:/host/boot:ro -v /lib/modules:/host/lib/modules:ro -v /etc/os-release:/host/etc/os-release:ro), or name a recorded host with --host-root."
		proc    = " Run where /proc is the host kernel's, or name a recorded host with --host-root."
		replace = " Put the config that kernel 6.1.174-coreos-r1 was built with in its place."
	)
	for _, c := range []struct {
		name string
		with map[string]string // "" removes the file
		want string
	}{
		{"a release nobody can parse", map[string]string{release: "frobnix\n", version: ""},
			`detect: cannot tell the kernel's version from proc/sys/kernel/osrelease: "frobnix" is not a kernel release such as 4.19.25-coreos-r1 or 6.12.103-flatcar. Check that the host root is a Linux host's.`},
		{"Windows's own", map[string]string{release: "5.15.167.4-microsoft-standard-WSL2\n", version: ""},
			"detect: kernel 5.15.167.4-microsoft-standard-WSL2 is that of Windows Subsystem for Linux, where a GPU comes from Windows's own driver (/dev/dxg): no kernel module belongs there. Install the driver on Windows; to build for another machine, name its root or its kernel image with --host-root or --kernel-image."},
		{"an older one than any that was tried", map[string]string{release: "4.7.3-coreos-r2\n", version: ""},
			"detect: kernel 4.7.3-coreos-r2 is older than 4.9, the oldest kernel line that modules were built for and loaded into: what a build needs of an older tree is not known. Use a host whose kernel is 4.9 or later."},
		{"no release", map[string]string{release: "", version: ""},
			"detect: no kernel release under HOST: neither proc/sys/kernel/osrelease nor proc/version is there." + proc},
		{"two releases", map[string]string{release: "6.1.175\n"},
			`detect: proc/sys/kernel/osrelease says the kernel is "6.1.175" and proc/version says "6.1.174-coreos-r1", so HOST is no one host. Capture the host again.`},
		{"another kernel than Linux", map[string]string{version: "FreeBSD 14.0\n"},
			`detect: proc/version is not a Linux kernel's: "FreeBSD 14.0" does not begin with "Linux version".` + proc},
		{"no config anywhere", map[string]string{config: ""},
			"detect: no config of kernel 6.1.174-coreos-r1 under HOST: looked for proc/config.gz, boot/config-6.1.174-coreos-r1, usr/boot/config-6.1.174-coreos-r1, lib/modules/6.1.174-coreos-r1/config, lib/modules/6.1.174-coreos-r1/build/.config." + mount},
		{"a config that is text", map[string]string{config: "hello\n"},
			`detect: proc/config.gz is not a kernel config: "hello" is no line of a kernel config.` + replace},
		{"a config that is empty", map[string]string{config: "", "boot/config-6.1.174-coreos-r1": "#\n"},
			"detect: boot/config-6.1.174-coreos-r1 is not a kernel config: no CONFIG_ line in it." + replace},
		{"a truncated config.gz", map[string]string{config: "\x1f\x8b\x08\x00\x00"},
			"detect: proc/config.gz is not a kernel config: unexpected EOF." + replace},
		{"another kernel's config", map[string]string{config: strings.Replace(coreosConfig, "6.1.174", "6.1.9", 1)},
			"detect: proc/config.gz is the config of kernel 6.1.9, and the host's kernel is 6.1.174-coreos-r1." + replace},
		{"no modules", map[string]string{config: "CONFIG_X86_64=y\n# CONFIG_MODULES is not set\n"},
			"detect: kernel 6.1.174-coreos-r1 was built without loadable modules (CONFIG_MODULES is not set in proc/config.gz), so no driver can be loaded into it. Use a host whose kernel has modules, or name a recorded one with --host-root."},
		{"another architecture", map[string]string{config: "CONFIG_MODULES=y\nCONFIG_RISCV=y\n"},
			"detect: proc/config.gz is of neither an x86_64 nor an arm64 kernel, and builder builds for no other. Use a host of one of these architectures."},
		{"no kallsyms", map[string]string{"proc/kallsyms": ""},
			"detect: cannot read what the kernel exports to modules: open HOST/proc/kallsyms: no such file or directory." + proc},
		{"kallsyms without exports", map[string]string{"proc/kallsyms": "0 T _text\n"},
			"detect: cannot tell from proc/kallsyms what the kernel exports to modules: proc/kallsyms: no __ksymtab_ entry in it. Use a kernel built with CONFIG_KALLSYMS_ALL; its names are there for every reader, with or without --privileged."},
		{"kallsyms with a module's exports alone", map[string]string{"proc/kallsyms": "0 r __ksymtab_a\t[drm]\n"},
			"detect: cannot tell from proc/kallsyms what the kernel exports to modules: no __ksymtab_ entry in it. Use a kernel built with CONFIG_KALLSYMS_ALL; its names are there for every reader, with or without --privileged."},
		{"a config that is a folder", map[string]string{config: "", "boot/config-6.1.174-coreos-r1/x": "x"},
			"detect: cannot read the kernel's config: open HOST/boot/config-6.1.174-coreos-r1: not a regular file." + mount},
		{"a version that is a folder", map[string]string{version: "", "proc/version/x": "x"},
			"detect: cannot read the kernel's version: open HOST/proc/version: not a regular file." + proc},
		{"a damaged kallsyms", map[string]string{"proc/kallsyms": "x r __ksymtab_a\n"},
			`detect: cannot read what the kernel exports to modules: proc/kallsyms: line 1: "x r __ksymtab_a" does not begin with an address.` + proc},
	} {
		t.Run(c.name, func(t *testing.T) {
			dir := testkit.WriteTree(t, change(coreosHost, c.with))
			root, err := OpenRoot(dir)
			if err != nil {
				t.Fatal(err)
			}
			_, err = Detect(t.Context(), root, DetectOptions{})
			if err == nil {
				t.Fatal("no error")
			}
			wantError(t, err, strings.ReplaceAll(c.want, "HOST", dir))
		})
	}
}

const coreosConfig = "# Linux/x86 6.1.174 Kernel Configuration\nCONFIG_X86_64=y\nCONFIG_MODULES=y\n" +
	"CONFIG_CC_VERSION_TEXT=\"gcc-11 (GCC) 11.4.0\"\n"

var coreosHost = map[string]string{
	"etc/os-release":            "ID=coreos\nVERSION_ID=9999.0.0\n",
	"proc/version":              "Linux version 6.1.174-coreos-r1 (a@b) (gcc-12 (Debian) 12.2.0, GNU ld 2.40) #1 SMP\n",
	"proc/sys/kernel/osrelease": "6.1.174-coreos-r1\n",
	"proc/config.gz":            coreosConfig,
	"proc/kallsyms":             "0 r __ksymtab__printk\n0 r __ksymtab_nv_x\t[nvidia]\n",
}

// change is files with some replaced, added, or removed by an empty text.
func change(files, with map[string]string) map[string]string {
	changed := map[string]string{}
	for _, m := range []map[string]string{files, with} {
		for name, text := range m {
			if changed[name] = text; text == "" {
				delete(changed, name)
			}
		}
	}
	return changed
}

func TestDetectDoesWithout(t *testing.T) {
	t.Parallel()
	full := Target{
		Distribution: Distribution{ID: "coreos", VersionID: "9999.0.0", From: "etc/os-release"},
		Compiler: Compiler{Name: "gcc", Major: 12, Version: "12.2.0",
			Banner: "gcc-12 (Debian) 12.2.0, GNU ld 2.40", From: "proc/version"},
	}
	for _, c := range []struct {
		name string
		with map[string]string
		want func(t *Target)
	}{
		{"nothing amiss", nil, func(*Target) {}},
		{"no osrelease", map[string]string{"proc/sys/kernel/osrelease": ""}, func(*Target) {}},
		{"no proc/version: the config names the compiler", map[string]string{"proc/version": ""}, func(t *Target) {
			t.Compiler = Compiler{Name: "gcc", Major: 11, Version: "11.4.0", Banner: "gcc-11 (GCC) 11.4.0", From: "proc/config.gz"}
		}},
		{"a compiler nobody knows", map[string]string{"proc/version": "Linux version 6.1.174-coreos-r1 (a@b) (tcc 0.9.27) #1\n"},
			func(t *Target) { t.Compiler = Compiler{} }},
		{"no os-release: the flavour names the distribution", map[string]string{"etc/os-release": ""},
			func(t *Target) { t.Distribution = Distribution{ID: "coreos", From: "release"} }},
	} {
		t.Run(c.name, func(t *testing.T) {
			root, err := OpenRoot(testkit.WriteTree(t, change(coreosHost, c.with)))
			if err != nil {
				t.Fatal(err)
			}
			got, err := Detect(t.Context(), root, DetectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want := full
			c.want(&want)
			if got.Release.Full != "6.1.174-coreos-r1" {
				t.Errorf("release %s", got.Release)
			}
			if diff := cmp.Diff(want.Distribution, got.Distribution); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if diff := cmp.Diff(want.Compiler, got.Compiler); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestLoadedDriverIsNoPartOfTheKernel holds a rerun's key steady: loading what
// was built must not make the next run build again.
func TestLoadedDriverIsNoPartOfTheKernel(t *testing.T) {
	t.Parallel()
	digests := map[string]string{}
	for name, modules := range map[string]string{
		"not loaded": "",
		"loaded":     "drm 4 0 - Live 0x0\nnvidia 4 0 - Live 0x0 (POE)\n",
	} {
		with := map[string]string{"proc/modules": modules}
		if modules == "" {
			with["proc/kallsyms"] = "0 r __ksymtab__printk\n"
		}
		root, err := OpenRoot(testkit.WriteTree(t, change(coreosHost, with)))
		if err != nil {
			t.Fatal(err)
		}
		got, err := Detect(t.Context(), root, DetectOptions{})
		if err != nil {
			t.Fatal(err)
		}
		digests[name] = got.Exports.Digest
	}
	if digests["loaded"] != digests["not loaded"] {
		t.Error("the digest of the exports changes with the driver that is loaded")
	}
}

// TestContainerWithoutMount: a container's own root has the host kernel's proc
// and the image's files, and those must not be taken for the host's.
func TestContainerWithoutMount(t *testing.T) {
	t.Parallel()
	dir := testkit.WriteTree(t, change(coreosHost, map[string]string{
		"proc/config.gz":                "",
		"boot/config-6.1.174-coreos-r1": coreosConfig,
	}))
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Detect(t.Context(), root, DetectOptions{}); err != nil {
		t.Fatalf("as a mounted host: %v", err)
	}
	root.kernelOnly = true
	_, err = Detect(t.Context(), root, DetectOptions{})
	wantError(t, err, "detect: no config of kernel 6.1.174-coreos-r1: it has no proc/config.gz, and the host's files are not mounted. "+
		"Mount what of the host tells (-v /boot:/host/boot:ro -v /lib/modules:/host/lib/modules:ro -v /etc/os-release:/host/etc/os-release:ro), or name a recorded host with --host-root.")
	if got := distribution(root, mustRelease(t, "6.1.174-flatcar")); got != (Distribution{ID: "flatcar", From: "release"}) {
		t.Errorf("distribution %+v", got)
	}
}

func TestDetectLogsWhatItFound(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	ctx := zerolog.New(&log).WithContext(t.Context())
	root, err := OpenRoot(testkit.WriteTree(t, coreosHost))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := Detect(ctx, root, DetectOptions{}); err != nil {
		t.Fatal(err)
	}
	want := `{"level":"info","root":"` + root.Dir() + `","release":"6.1.174-coreos-r1","config":"proc/config.gz","symbols":2,"exports":"proc/kallsyms","in_tree":"proc/kallsyms","message":"kernel detected"}` + "\n"
	if diff := cmp.Diff(want, log.String()); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
	// An automount that nobody has looked into yet.
	log.Reset()
	if err := os.Mkdir(filepath.Join(root.Dir(), "boot"), 0o755); err != nil {
		t.Fatal(err)
	}
	if _, err := Detect(ctx, root, DetectOptions{}); err != nil || !strings.Contains(log.String(), "run `ls /boot` on the host") {
		t.Errorf("%v\n%s", err, log.String())
	}
}

// recorded opens one of the hosts under testdata.
func recorded(t *testing.T, host string) *Root {
	t.Helper()
	root, err := OpenRoot(filepath.Join("testdata", "rootfs-"+host))
	if err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(root.Dir(), "README.md")); err != nil {
		t.Fatal(err)
	}
	return root
}
