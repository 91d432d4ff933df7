package kernel

import (
	"bytes"
	"debug/elf"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/pkg/kernel/image"
	"github.com/k8sp/cuda/pkg/kernel/image/imagetest"
)

// imageFile is a kernel image as a user names one.
func imageFile(t *testing.T, data []byte) DetectOptions {
	t.Helper()
	path := filepath.Join(t.TempDir(), "flatcar_production_pxe.vmlinuz")
	if err := os.WriteFile(path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return DetectOptions{Image: path}
}

// TestImageIsEnough is a target of a kernel that nobody has booted.
func TestImageIsEnough(t *testing.T) {
	t.Parallel()
	k := versionedKernel()
	got := mustDetect(t, nil, imageFile(t, k.BzImage(t)))
	config, err := ParseConfig([]byte(k.Config))
	if err != nil {
		t.Fatal(err)
	}
	config.From = namedImage
	want := Target{
		Release: mustRelease(t, "6.12.103-flatcar"), Arch: X86_64,
		Distribution: Distribution{ID: "flatcar", From: "release"},
		Builder:      "build@pony",
		BuildID:      BuildID{"0f1e2d3c", namedImage},
		Compiler: Compiler{Name: "gcc", Major: 14, Version: "14.3.1", From: namedImage,
			Banner: "x86_64-cros-linux-gnu-gcc (Gentoo Hardened 14.3.1) 14.3.1, GNU ld 2.44"},
		Config: config,
		Exports: Exports{
			Symbols: withCRCs, From: namedImage, Complete: true,
		},
		StructModule: StructModule{1280, namedImage},
		Types:        TypeInfo{From: namedImage},
		Signing:      Signing{Enforcement: NotEnforced, From: "CONFIG_MODULE_SIG"},
	}
	want.Exports.Digest = exportsDigest(withCRCs)
	if size, err := image.StructModule(got.Types.BTF); size != 1280 {
		t.Errorf("the type information has a struct module of %d bytes, %v", size, err)
	}
	got.Types.BTF = nil
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// TestImageOfEitherKind reads the other forms in which kernels are published.
func TestImageOfEitherKind(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	arm := k
	arm.Config = strings.Replace(k.Config, "X86_64", "ARM64", 1)
	arm.Exports = imagetest.ManyExports()
	ofELF := arm
	ofELF.Machine = elf.EM_AARCH64
	for name, c := range map[string]struct {
		data    []byte
		arch    Arch
		exports int
	}{
		"vmlinux":           {k.Vmlinux(t), X86_64, 3},
		"vmlinux.gz":        {imagetest.Gzip(t, k.Vmlinux(t)), X86_64, 3},
		"Image":             {arm.Flat(t), AArch64, 1024},
		"Image.gz":          {imagetest.Gzip(t, arm.Flat(t)), AArch64, 1024},
		"vmlinuz.efi":       {imagetest.Zboot(imagetest.Zstd(t, arm.Flat(t))), AArch64, 1024},
		"vmlinux for arm64": {ofELF.Vmlinux(t), AArch64, 1024},
	} {
		got := mustDetect(t, nil, imageFile(t, c.data))
		if got.Arch != c.arch || len(got.Exports.Symbols) != c.exports || got.Exports.From != namedImage {
			t.Errorf("%s: %s, %d exports from %s", name, got.Arch, len(got.Exports.Symbols), got.Exports.From)
		}
	}
}

// richHost runs k and has something to tell of everything, in files of the
// kernel's and in proc and sys.
func richHost(t *testing.T, k imagetest.Kernel) map[string]string {
	files := change(hostFiles(k), map[string]string{
		"proc/kallsyms": kallsymsText(k, drmLines),
		cmdlineFile:     "module.sig_enforce",
		keysFile:        string(readTestdata(t, "proc-keys")),
		btfFile:         string(imagetest.BTF(t, 1280)),
		smallModules + "kernel/drivers/rich-one.ko": richModule(t),
	})
	for name, text := range pciFiles("0000:65:00.0", "0x10de", "0x1eb8", "0x030200") {
		files[name] = text
	}
	return files
}

// TestImageWithAHost: of the host that is named beside an image, what is of the
// image's kernel counts.
func TestImageWithAHost(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	k.Config += "CONFIG_DRM=m\n" + sigConfig
	k.StructModule = 0 // the host tells
	type part struct {
		enforcement Enforcement
		keys        int
		structBytes int64
		inTree      string
		gpus        int
		os          string
	}
	const inTree = "lib/modules/6.12.103-flatcar/kernel"
	of := part{Enforced, 1, 1280, inTree, 1, "4459.2.1"}
	notOf := part{EnforcementUnknown, 0, 64, inTree, 1, "4459.2.1"} // of rich-one.ko
	another := notOf
	another.os = "" // its os-release is of the system that runs
	for _, c := range []struct {
		name string
		with map[string]string
		want part
	}{
		{"that runs it", nil, of},
		{"of which proc/version is not to be seen", map[string]string{"proc/version": ""}, of},
		{"that runs another kernel", map[string]string{
			"proc/version":              strings.Replace(k.Banner, "6.12.103", "6.12.99", 1),
			"proc/sys/kernel/osrelease": "6.12.99-flatcar\n",
			"proc/config.gz":            strings.Replace(k.Config, "6.12.103", "6.12.99", 1),
		}, another},
		{"that runs another build of it", map[string]string{"proc/version": strings.Replace(k.Banner, "Aug 10", "Aug 11", 1)}, another},
		{"that does not run", map[string]string{"proc/version": "", "proc/sys/kernel/osrelease": ""}, notOf},
		{"that has no more than devices and os-release", map[string]string{
			"proc/version": "", "proc/sys/kernel/osrelease": "", smallModules + "kernel/drivers/rich-one.ko": "",
		}, part{EnforcementUnknown, 0, 0, "", 1, "4459.2.1"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := openFiles(t, change(richHost(t, k), c.with))
			target := mustDetect(t, root, imageFile(t, k.BzImage(t)))
			got := part{target.Signing.Enforcement, len(target.Signing.Keys), target.StructModule.Bytes,
				target.Exports.InTree, len(target.PCI), target.Distribution.VersionID}
			if diff := cmp.Diff(c.want, got, cmp.AllowUnexported(part{})); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
			if target.Release.Full != k.Release || target.Config.From != namedImage || target.Exports.From != namedImage {
				t.Errorf("%s, config from %s, exports from %s", target.Release, target.Config.From, target.Exports.From)
			}
		})
	}
}

// TestImageWithOnesOwnRoot: a container's own root shows the kernel of its host,
// which need not be the image's, and files of no host.
func TestImageWithOnesOwnRoot(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	k.Config += sigConfig
	other := k
	other.Banner, other.Release = strings.Replace(k.Banner, "6.12.103", "6.12.99", 1), "6.12.99-flatcar"
	for name, c := range map[string]struct {
		runs imagetest.Kernel
		want Enforcement
	}{
		"of the image's kernel": {k, Enforced},
		"of another":            {other, EnforcementUnknown},
	} {
		root := openFiles(t, richHost(t, c.runs))
		root.kernelOnly = true
		got := mustDetect(t, root, imageFile(t, k.BzImage(t)))
		if got.Signing.Enforcement != c.want || got.Exports.InTree == inTreeDir(got.Release) || got.Distribution.VersionID != "" {
			t.Errorf("%s: signatures %q, modules from %q, distribution %+v", name, got.Signing.Enforcement, got.Exports.InTree, got.Distribution)
		}
	}
}

func TestConfigOfAnImage(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	mute := k
	mute.Config = ""
	const onDisk = "boot/config-6.12.103-flatcar"
	other := map[string]string{"proc/version": "", "proc/sys/kernel/osrelease": "6.12.99-flatcar\n", "proc/config.gz": "CONFIG_RISCV=y\n"}
	for _, c := range []struct {
		name  string
		image imagetest.Kernel
		with  map[string]string
		from  string
	}{
		{"its own is before the host's", k, map[string]string{onDisk: k.Config}, namedImage},
		{"the host's, of its kernel", mute, change(other, map[string]string{onDisk: k.Config}), onDisk},
		{"the running kernel's, where that is it", mute, map[string]string{"proc/config.gz": k.Config}, "proc/config.gz"},
	} {
		root := openFiles(t, change(hostFiles(k), c.with))
		if got := mustDetect(t, root, imageFile(t, c.image.BzImage(t))).Config; got.From != c.from {
			t.Errorf("%s: config from %s", c.name, got.From)
		}
	}
	_, err := Detect(t.Context(), openFiles(t, change(hostFiles(k), other)), imageFile(t, mute.BzImage(t)))
	wantError(t, err, "detect: no config of kernel 6.12.103-flatcar: its image has none inside (CONFIG_IKCONFIG is not set), and no host's files have it. "+
		"Name a host, or a capture of one, that has /boot/config-6.12.103-flatcar with --host-root.")
	_, err = Detect(t.Context(), nil, imageFile(t, mute.BzImage(t)))
	if err == nil || !strings.Contains(err.Error(), "its image has none inside") {
		t.Errorf("without a host: %v", err)
	}
}

// TestConfigOfTheHostsImage: where no file of the host has its kernel's config,
// the kernel's image may.
func TestConfigOfTheHostsImage(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	files := map[string]string{"proc/config.gz": "", "usr/boot/vmlinuz-a": string(k.BzImage(t)), smallSymvers: symversText(k)}
	if got := mustDetect(t, openFiles(t, change(hostFiles(k), files)), DetectOptions{}); got.Config.From != "usr/boot/vmlinuz-a" || got.Exports.From != smallSymvers {
		t.Errorf("config from %s, exports from %s", got.Config.From, got.Exports.From)
	}
	files[smallSymvers] = symversText(with(k, "of_another_build"))
	if got := mustDetect(t, openFiles(t, change(hostFiles(k), files)), DetectOptions{}); got.Exports.From != "usr/boot/vmlinuz-a" {
		t.Errorf("the image was read and tells the list from another's, and exports are from %s", got.Exports.From)
	}
}

// TestImageAgainstModuleSymvers: the build tree of the host beside an image is
// believed where it is of the image's kernel.
func TestImageAgainstModuleSymvers(t *testing.T) {
	t.Parallel()
	const drmLine = "0x0000beef\tdrm_open\tdrivers/gpu/drm/drm\tEXPORT_SYMBOL\t\n"
	k := versionedKernel()
	rebuilt, mute := versionedKernel(), versionedKernel()
	rebuilt.Exports[0].CRC++
	mute.Exports = nil
	withoutCRCs := k.Sections(t)
	for i := range withoutCRCs {
		if withoutCRCs[i].Name == "__kcrctab" {
			withoutCRCs[i].Data = withoutCRCs[i].Data[1:]
		}
	}
	for _, c := range []struct {
		name         string
		image        []byte
		symvers      string
		from, inTree string
	}{
		{"the same", k.BzImage(t), symversText(k, drmLine), smallSymvers, smallSymvers},
		{"another CRC", k.BzImage(t), symversText(rebuilt, drmLine), namedImage, ""},
		{"one more", k.BzImage(t), symversText(with(k, "one_more"), drmLine), namedImage, ""},
		{"damaged", k.BzImage(t), "damaged", namedImage, ""},
		{"an image that does not tell", mute.BzImage(t), symversText(k, drmLine), smallSymvers, smallSymvers},
		{"an image that does not tell CRCs", imagetest.ELF(elf.ET_EXEC, elf.EM_X86_64, withoutCRCs), symversText(k, drmLine), smallSymvers, smallSymvers},
	} {
		root := openFiles(t, change(hostFiles(k), map[string]string{smallSymvers: c.symvers}))
		got := mustDetect(t, root, imageFile(t, c.image)).Exports
		if got.From != c.from || got.InTree != c.inTree {
			t.Errorf("%s: from %s, modules' from %q", c.name, got.From, got.InTree)
		}
	}
}

func TestImageWithoutExports(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	mute := k
	mute.Exports = nil
	o := imageFile(t, mute.BzImage(t))
	_, err := Detect(t.Context(), nil, o)
	wantError(t, err, "detect: cannot tell what kernel 6.12.103-flatcar exports to modules: its image has no table of them that could be read. "+
		"Name a host that runs this kernel, or a capture of one, with --host-root.")
	files := change(hostFiles(k), map[string]string{"proc/kallsyms": kallsymsText(k)})
	if got := mustDetect(t, openFiles(t, files), o).Exports; got.From != kallsymsFile {
		t.Errorf("exports from %s", got.From)
	}
	files["proc/version"] = strings.Replace(k.Banner, "Aug 10", "Aug 11", 1)
	if got, err := Detect(t.Context(), openFiles(t, files), o); err == nil {
		t.Errorf("exports of another build from %s", got.Exports.From)
	}
}

func TestImageWithoutABanner(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	k.Banner = ""
	k.Config += "CONFIG_CC_VERSION_TEXT=\"gcc (Debian 12.2.0-14) 12.2.0\"\n"
	got := mustDetect(t, nil, imageFile(t, k.BzImage(t))).Compiler
	want := Compiler{Name: "gcc", Major: 12, Version: "12.2.0", Banner: "gcc (Debian 12.2.0-14) 12.2.0", From: namedImage}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func TestImageIsRefused(t *testing.T) {
	t.Parallel()
	const name = " Name a vmlinuz, a vmlinux or an arm64 Image, as a boot loader loads it."
	k := smallKernel()
	arm, nameless, old := k, k, k
	arm.Config = strings.Replace(k.Config, "X86_64", "ARM64", 1)
	nameless.Release, nameless.Banner = "", ""
	old.Release, old.Banner = "4.7.3-coreos-r2", "Linux version 4.7.3-coreos-r2 (a@b) (gcc 4.9.3) #1 SMP"
	for _, c := range []struct {
		name, want string
		data       []byte
	}{
		{"no image", "detect: the kernel image cannot be read: IMAGE: not a kernel image: begins with 23 21 2f 62 69 6e 2f 73, which is no kernel and no compression of one." + name, []byte("#!/bin/sh\n")},
		{"one of no release", "detect: the kernel image IMAGE does not say which kernel it is: \"\" is not a kernel release such as 4.19.25-coreos-r1 or 6.12.103-flatcar." + name, nameless.BzImage(t)},
		{"one of a config for another machine", "detect: --kernel-image is the config of a kernel for aarch64, and the kernel image is for x86_64. Name the image and the host root of one kernel.", arm.BzImage(t)},
		{"an old one", "detect: kernel 4.7.3-coreos-r2 is older than 4.9, the oldest kernel line that modules were built for and loaded into: what a build needs of an older tree is not known. Use a host whose kernel is 4.9 or later.", old.BzImage(t)},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := imageFile(t, c.data)
			_, err := Detect(t.Context(), nil, o)
			if err == nil {
				t.Fatal("no error")
			}
			wantError(t, err, strings.ReplaceAll(c.want, "IMAGE", o.Image))
		})
	}
	_, err := Detect(t.Context(), nil, DetectOptions{})
	wantError(t, err, "detect: no kernel was named: there is neither a host root nor a kernel image. "+
		"Run where /proc is the host kernel's, or name a recorded host with --host-root.")
}

// TestCaptureOfAnImage: the capture of a host beside an image is of the image's kernel,
// and tells of it what the two tell together.
func TestCaptureOfAnImage(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	k.Config += "CONFIG_DRM=m\n" + sigConfig
	another := map[string]string{
		"proc/version":              strings.Replace(k.Banner, "6.12.103", "6.12.99", 1),
		"proc/sys/kernel/osrelease": "6.12.99-flatcar\n",
		"proc/config.gz":            strings.Replace(k.Config, "6.12.103", "6.12.99", 1),
		notesFile:                   string(imagetest.Notes("\xab\xcd")),
	}
	anonymous, mute := k, k
	anonymous.Banner, mute.BuildID = "", ""
	for name, c := range map[string]struct {
		image imagetest.Kernel
		with  map[string]string
	}{
		"of one that runs it":        {k, nil},
		"of one that runs another":   {k, another},
		"of one that does not run":   {k, map[string]string{"proc/version": "", "proc/sys/kernel/osrelease": "", "proc/config.gz": ""}},
		"that does not say who":      {anonymous, another},
		"that has no identification": {mute, another},
	} {
		t.Run(name, func(t *testing.T) {
			root, image := openFiles(t, change(richHost(t, k), c.with)), imageFile(t, c.image.BzImage(t))
			want := mustDetect(t, root, image)
			var archive bytes.Buffer
			if err := Capture(t.Context(), root, &archive, CaptureOptions{Image: image.Image, Keep: everyDevice}); err != nil {
				t.Fatal(err)
			}
			captured, err := OpenRootArchive(t.Context(), writeFile(t, archive.Bytes()), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			got := mustDetect(t, captured, DetectOptions{})
			want.Captured = true
			for _, target := range []*Target{&want, &got} { // where it was read is another matter
				target.Compiler.From, target.Config.From, target.Exports.From, target.BuildID.From, target.StructModule.From, target.Types.From = "", "", "", "", "", ""
				target.Types.Modules = nil
			}
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-image and host +capture:\n%s", diff)
			}
			if again := capture(t, captured); !bytes.Equal(again, archive.Bytes()) {
				t.Error("a capture of the capture differs")
			}
		})
	}
}

// TestCaptureWithOthersDevices has a root that is no more than files tell of the devices of
// the host that will boot from them.
func TestCaptureWithOthersDevices(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	image, host := imageFile(t, k.BzImage(t)), openFiles(t, richHost(t, k))
	var archive bytes.Buffer
	o := CaptureOptions{Image: image.Image, Keep: everyDevice, Devices: host}
	if err := Capture(t.Context(), openFiles(t, map[string]string{"usr/lib/os-release": "ID=flatcar\nVERSION_ID=4593.2.5\n"}), &archive, o); err != nil {
		t.Fatal(err)
	}
	root, err := OpenRootArchive(t.Context(), writeFile(t, archive.Bytes()), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	got := mustDetect(t, root, DetectOptions{})
	if diff := cmp.Diff(PCIDevices(host), got.PCI); diff != "" || got.Distribution.VersionID != "4593.2.5" || got.Release.Full != k.Release {
		t.Errorf("%s of %+v; devices (-want +got):\n%s", got.Release, got.Distribution, diff)
	}
}

// TestCaptureOfNoImage is refused as a build is.
func TestCaptureOfNoImage(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	err := Capture(t.Context(), openFiles(t, hostFiles(smallKernel())), &archive, CaptureOptions{Image: filepath.Join(t.TempDir(), "absent")})
	if err == nil || !strings.Contains(err.Error(), "the kernel image cannot be read") || archive.Len() > 0 {
		t.Errorf("%v, and %d bytes", err, archive.Len())
	}
}
