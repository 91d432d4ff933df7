package kernel

import (
	"archive/tar"
	"bytes"
	"compress/gzip"
	"errors"
	"io"
	"iter"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/klauspost/compress/zstd"
	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/internal/untar"
)

func TestCapture(t *testing.T) {
	t.Parallel()
	first, second := capture(t, recorded(t, "debian")), capture(t, recorded(t, "debian"))
	if !bytes.Equal(first, second) {
		t.Error("two captures of one host differ")
	}
	var names []string
	for _, h := range members(t, bytes.NewReader(first)) {
		if h.Typeflag != tar.TypeReg || h.Mode != 0o644 || h.Uid != 0 || h.Uname != "" || h.ModTime.Unix() != 0 {
			t.Errorf("%s says more than its content: %+v", h.Name, h)
		}
		names = append(names, h.Name)
	}
	want := []string{
		"boot/config-6.1.0-56-amd64",
		"etc/os-release",
		"lib/modules/6.1.0-56-amd64/build/Module.symvers",
		"lib/modules/6.1.0-56-amd64/kernel.symvers",
		"lib/modules/6.1.0-56-amd64/kernel/lib/crc7.ko",
		"proc/sys/kernel/osrelease",
		"proc/version",
		"usr/lib/os-release",
	}
	if diff := cmp.Diff(want, names); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

// copied is a recorded host that a test may change.
func copied(t *testing.T, host string) *Root {
	t.Helper()
	dir := t.TempDir()
	if err := os.CopyFS(dir, os.DirFS(recorded(t, host).Dir())); err != nil {
		t.Fatal(err)
	}
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	return root
}

// TestCaptureInAContainer has what Docker hides be left out, with what to mount.
func TestCaptureInAContainer(t *testing.T) {
	t.Parallel()
	root := copied(t, "debian")
	if err := unix.Mkfifo(filepath.Join(root.Dir(), keysFile), 0o600); err != nil { // anybody may make one, and no device
		t.Fatal(err)
	}
	var log, archive bytes.Buffer
	if err := Capture(zerolog.New(&log).WithContext(t.Context()), root, &archive, CaptureOptions{Keep: everyDevice}); err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(log.String(), "-v /proc/keys:/host/proc/keys:ro") {
		t.Errorf("it does not say what to mount:\n%s", log.String())
	}
	for _, want := range []string{`"exports_of_modules":true`, "mount the host's /boot at /host/boot"} {
		if !strings.Contains(log.String(), want) {
			t.Errorf("it does not say %q:\n%s", want, log.String())
		}
	}
	if want := capture(t, recorded(t, "debian")); !bytes.Equal(archive.Bytes(), want) {
		t.Error("the capture is not whole")
	}
}

// TestCaptureThatWouldNotSuffice is none: not a byte is written, and the error is the one
// that a build would end with.
func TestCaptureThatWouldNotSuffice(t *testing.T) {
	t.Parallel()
	for name, with := range map[string]map[string]string{
		"no config":              {"boot/config-6.1.0-56-amd64": ""},
		"no modules in a kernel": {"boot/config-6.1.0-56-amd64": "CONFIG_X86_64=y\n"},
		"no exports":             {"lib/modules/6.1.0-56-amd64/build/Module.symvers": ""},
	} {
		root := copied(t, "debian")
		for file, text := range with {
			path := filepath.Join(root.Dir(), file)
			if err := os.Remove(path); err != nil {
				t.Fatal(err)
			}
			if text != "" {
				if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
		}
		_, want := Detect(t.Context(), root, DetectOptions{})
		var archive bytes.Buffer
		err := Capture(t.Context(), root, &archive, CaptureOptions{Keep: everyDevice})
		if want == nil || err == nil || err.Error() != want.Error() || archive.Len() > 0 {
			t.Errorf("%s: %v, and %d bytes; a build would say %v", name, err, archive.Len(), want)
		}
	}
}

// TestCaptureIsTheHost is the promise of a capture: nothing that detect knows
// of a host is lost in it.
func TestCaptureIsTheHost(t *testing.T) {
	t.Parallel()
	live := map[string]*Root{}
	for _, host := range hosts {
		live[host] = recorded(t, host)
	}
	for _, c := range slices.Concat(kernelCases(), moduleCases()) {
		live[c.name] = openFiles(t, c.host(t))
	}
	live["a sample and types"] = openFiles(t, structModuleHosts(t)["sysfs before a module"])
	live["modules that say nothing"] = openFiles(t, mutedHost(t))
	live["everything of sysfs"] = openFiles(t, change(hostWithDevices(), signingCase{
		config: sigConfig + lockdownConfig,
		files: map[string]string{
			cmdlineFile: "quiet module.sig_enforce=0 lockdown=none", sigEnforceFile: "N\n",
			lockdownFile: "none [integrity] confidentiality\n", keysFile: string(readTestdata(t, "proc-keys")),
		},
	}.host()))
	live["a build ID"] = openFiles(t, change(hostWithDevices(), map[string]string{notesFile: string(notes("\xab\xcd"))}))
	live["a parameter"] = openFiles(t, signingCase{config: sigConfig, files: map[string]string{sigEnforceFile: "N\n"}}.host())
	live["a command line"] = openFiles(t, signingCase{
		config: sigConfig + lockdownConfig, files: map[string]string{cmdlineFile: "quiet module.sig_enforce lockdown=integrity"},
	}.host())
	for name, live := range live {
		t.Run(name, func(t *testing.T) {
			archive := capture(t, live)
			root, err := OpenRootArchive(t.Context(), writeFile(t, archive), t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			want, err := Detect(t.Context(), live, DetectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			got, err := Detect(t.Context(), root, DetectOptions{})
			if err != nil {
				t.Fatal(err)
			}
			want.Types.Modules, got.Types.Modules = nil, nil // files of this machine
			want.Captured = true
			if diff := cmp.Diff(want, got); diff != "" {
				t.Errorf("-host +capture:\n%s", diff)
			}
			if again := capture(t, root); !bytes.Equal(again, archive) {
				t.Error("a capture of the capture differs")
			}
		})
	}
}

// mutedHost has one module that exports nothing, and one that cannot be read:
// all that is known of its modules is what is loaded.
func mutedHost(t *testing.T) map[string]string {
	k := smallKernel()
	k.Config += "CONFIG_DRM=m\n"
	return change(hostFiles(k), loadedDrm(k, map[string]string{
		smallDrivers + "mute.ko":   readString(t, "../modules/testdata/ko/nvidia-drm.ko"),
		smallDrivers + "zzz.ko.xz": "damaged",
	}))
}

// TestCaptureMovesAddresses shows what is left of them: each module's begin at 1,
// whether an export or a section is its first, and those that were hidden are.
func TestCaptureMovesAddresses(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	root := openFiles(t, change(hostFiles(k), map[string]string{
		smallSymvers: symversText(k),
		"proc/kallsyms": "ffffffff81000000 T _text\n" +
			"ffffffff82000010 r __ksymtab_b\nffffffff82000000 R __start___ksymtab\n0000000000000000 r __ksymtab_a\n" +
			"ffffffffc0001010 r __ksymtab_drm_open\t[drm]\nffffffffc0003000 r __ksymtab_i2c\t[i2c_core]\n",
		"proc/modules":                          "drm 4 1 i2c_core, Live 0xffffffffc0001000 (OE)\ndamaged\n",
		"sys/module/drm/sections/__ksymtab":     "0xffffffffc0001000\n",
		"sys/module/drm/sections/__ksymtab_gpl": "0x0000000000000000\n",
		"sys/module/bus/sections/__ksymtab":     "0xffffffffc0002000\n",
		"sys/module/drm/sections/__kflagstab":   "0xffffffffc0000800\n",
	}))
	captured, err := OpenRootArchive(t.Context(), writeFile(t, capture(t, root)), t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"proc/kallsyms": "0000000000000011 r __ksymtab_b\n0000000000000001 R __start___ksymtab\n0000000000000000 r __ksymtab_a\n" +
			"0000000000000811 r __ksymtab_drm_open\t[drm]\n0000000000000001 r __ksymtab_i2c\t[i2c_core]\n",
		"proc/modules":                          "drm 4 1 i2c_core, Live 0x0000000000000000 (OE)\n",
		"sys/module/drm/sections/__ksymtab":     "0x0000000000000801\n",
		"sys/module/drm/sections/__kflagstab":   "0x0000000000000001\n",
		"sys/module/drm/sections/__ksymtab_gpl": "0x0000000000000000\n",
		"sys/module/bus/sections/__ksymtab":     "0x0000000000000000\n", // nothing to compare it with
	} {
		if got, err := captured.ReadFile(name); err != nil || string(got) != want {
			t.Errorf("%s: %v\n%s", name, err, cmp.Diff(want, string(got)))
		}
	}
}

// TestCaptureGivesNothingAway captures a host twice, booted at other addresses,
// on which people have secrets.
func TestCaptureGivesNothingAway(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	host := change(hostFiles(k), loadedDrm(k, map[string]string{
		"sys/module/drm/sections/__ksymtab":     "0xffffffffc0001000\n",
		"sys/module/drm/sections/__ksymtab_gpl": "0xffffffffc000100c\n",
		"sys/module/drm/sections/.text":         "0xffffffffc0000000\n",
		"proc/kallsyms":                         "ffffffff81234567 T secret_function\n" + kallsymsText(k, drmLines),
		"proc/cmdline":                          "BOOT_IMAGE=/vmlinuz-a module.sig_enforce luks.secret=hunter2 lockdown=integrity\n",
		"proc/keys": string(readTestdata(t, "proc-keys")) +
			"1f0c1e2a I--Q---     1 perm 3f010000  1000  1000 asymmetri secret@home: 00c0ffee: X509.rsa 00c0ffee []\n",
		"etc/shadow": "root:secret\n",
	}))
	archive := capture(t, openFiles(t, host))
	for _, private := range []string{"ffffffff", "secret", "hunter2", "BOOT_IMAGE", "_uid"} {
		if i := bytes.Index(archive, []byte(private)); i >= 0 {
			t.Errorf("%q is in it: %.200q", private, archive[max(0, i-100):])
		}
	}
	for _, kept := range []string{"module.sig_enforce lockdown=integrity\n", "8963f707e289edc09df337a240938134371a5bb8", "__ksymtab_drm_open"} {
		if !bytes.Contains(archive, []byte(kept)) {
			t.Errorf("%q is not in it", kept)
		}
	}
	elsewhere := maps.Clone(host)
	for _, name := range []string{"proc/kallsyms", "proc/modules", "sys/module/drm/sections/__ksymtab", "sys/module/drm/sections/__ksymtab_gpl"} {
		elsewhere[name] = strings.NewReplacer("ffffffff8", "ffffffffa", "ffffffffc0", "ffffffffb1").Replace(host[name])
	}
	if !bytes.Equal(capture(t, openFiles(t, elsewhere)), archive) {
		t.Error("the same host, booted at another address, gives another capture")
	}
}

func TestCaptureNeedsAKernel(t *testing.T) {
	t.Parallel()
	root, err := OpenRoot(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	wantError(t, Capture(t.Context(), root, io.Discard, CaptureOptions{Keep: everyDevice}), "detect: no kernel release under "+root.Dir()+
		": neither proc/sys/kernel/osrelease nor proc/version is there. "+
		"Run where /proc is the host kernel's, or name a recorded host with --host-root.")
}

func TestOpenRootArchiveUnpacksWhatPeopleHave(t *testing.T) {
	t.Parallel()
	plain := capture(t, recorded(t, "flatcar"))
	var gz, zs bytes.Buffer
	z := gzip.NewWriter(&gz)
	compress(t, z, plain)
	s, err := zstd.NewWriter(&zs)
	if err != nil {
		t.Fatal(err)
	}
	compress(t, s, plain)
	for name, data := range map[string][]byte{"tar": plain, "gz": gz.Bytes(), "zst": zs.Bytes()} {
		root, err := OpenRootArchive(t.Context(), writeFile(t, data), t.TempDir())
		if err != nil {
			t.Errorf("%s: %v", name, err)
			continue
		}
		if text, err := root.ReadFile("proc/sys/kernel/osrelease"); err != nil || string(text) != "6.12.58-flatcar\n" {
			t.Errorf("%s: %q, %v", name, text, err)
		}
		if !root.Mounted() {
			t.Errorf("%s: not taken for the host's own files", name)
		}
	}
}

func TestOpenRootArchiveRefuses(t *testing.T) {
	t.Parallel()
	var climbing bytes.Buffer
	w := tar.NewWriter(&climbing)
	if err := w.WriteHeader(&tar.Header{Name: "../escaped", Typeflag: tar.TypeReg, Mode: 0o644, Size: 1}); err != nil {
		t.Fatal(err)
	}
	compress(t, w, []byte("x"))
	whole := capture(t, recorded(t, "debian"))
	for name, data := range map[string][]byte{
		"empty":     nil,
		"truncated": whole[:len(whole)/2],
		"no tar":    bytes.Repeat([]byte("hello "), 200),
		"climbing":  climbing.Bytes(),
	} {
		t.Run(name, func(t *testing.T) {
			path, scratch := writeFile(t, data), t.TempDir()
			_, err := OpenRootArchive(t.Context(), path, scratch)
			if err == nil || !strings.HasPrefix(err.Error(), "unpack "+path+": ") {
				t.Errorf("got %v", err)
			}
			if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
				t.Errorf("left in scratch: %v, %v", left, err)
			}
			var refused *untar.Error
			if name == "climbing" && !errors.As(err, &refused) {
				t.Errorf("not for its member: %v", err)
			}
		})
	}
}

// members are an archive's, by where their data begins.
func members(t *testing.T, r *bytes.Reader) iter.Seq2[int, *tar.Header] {
	return func(yield func(int, *tar.Header) bool) {
		for archive := tar.NewReader(r); ; {
			h, err := archive.Next()
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			if !yield(int(r.Size())-r.Len(), h) {
				return
			}
		}
	}
}

// TestOpenRootArchiveRefusesABrokenOffCapture cuts where a reader of tars takes
// the end of a file for the end of the archive.
func TestOpenRootArchiveRefusesABrokenOffCapture(t *testing.T) {
	t.Parallel()
	whole := capture(t, recorded(t, "debian"))
	cuts := []int{0}
	for start, h := range members(t, bytes.NewReader(whole)) {
		end := start + int(h.Size)
		cuts = append(cuts, start, end, (end+511)/512*512)
	}
	marked := cuts[len(cuts)-1]
	cuts = append(cuts, marked+1, marked+512, marked+1023)
	for _, cut := range slices.Compact(cuts) {
		_, err := OpenRootArchive(t.Context(), writeFile(t, whole[:cut]), t.TempDir())
		if err == nil || cut > 0 && !errors.Is(err, io.ErrUnexpectedEOF) {
			t.Errorf("%d bytes of %d: %v", cut, len(whole), err)
		}
	}
	if marked+1024 != len(whole) {
		t.Errorf("the members end at %d of %d bytes", marked, len(whole))
	}
	if _, err := OpenRootArchive(t.Context(), writeFile(t, whole), t.TempDir()); err != nil {
		t.Errorf("the whole one: %v", err)
	}
}

// TestCaptureKeepsDevices: what else is on a node's bus is nobody's business.
func TestCaptureKeepsDevices(t *testing.T) {
	t.Parallel()
	var archive bytes.Buffer
	display := func(d PCIDevice) bool { return d.Vendor == 0x10de && d.Class>>16 == 0x03 }
	if err := Capture(t.Context(), openFiles(t, hostWithDevices()), &archive, CaptureOptions{Keep: display}); err != nil {
		t.Fatal(err)
	}
	kept := map[string]int{}
	for _, h := range members(t, bytes.NewReader(archive.Bytes())) {
		if rest, ok := strings.CutPrefix(h.Name, pciDevices+"/"); ok {
			address, _, _ := strings.Cut(rest, "/")
			kept[address]++
		}
	}
	if diff := cmp.Diff(map[string]int{"0000:17:00.0": len(pciAttributes), "0000:65:00.0": len(pciAttributes)}, kept); diff != "" {
		t.Errorf("-want +got:\n%s", diff)
	}
}

func everyDevice(PCIDevice) bool { return true }

func capture(t *testing.T, root *Root) []byte {
	t.Helper()
	var b bytes.Buffer
	if err := Capture(t.Context(), root, &b, CaptureOptions{Keep: everyDevice}); err != nil {
		t.Fatal(err)
	}
	return b.Bytes()
}

func compress(t *testing.T, w io.WriteCloser, data []byte) {
	t.Helper()
	if _, err := w.Write(data); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
}

func writeFile(t *testing.T, data []byte) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "host")
	if err := os.WriteFile(path, data, 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

// TestCaptureOfALargeImage: an image may be larger than any other file.
func TestCaptureOfALargeImage(t *testing.T) {
	t.Parallel()
	k := smallKernel()
	image := string(k.BzImage(t))
	dir := testkit.WriteTree(t, change(hostFiles(k), map[string]string{"boot/vmlinuz-" + k.Release: image}))
	large := int64(len(image)) + fileLimit
	if err := os.Truncate(filepath.Join(dir, "boot/vmlinuz-"+k.Release), large); err != nil {
		t.Fatal(err)
	}
	root, err := OpenRoot(dir)
	if err != nil {
		t.Fatal(err)
	}
	var archive counter
	if err := Capture(t.Context(), root, &archive, CaptureOptions{Keep: everyDevice}); err != nil || int64(archive) < large {
		t.Errorf("%d bytes, error %v", archive, err)
	}
}

// counter counts what is written to it.
type counter int64

func (c *counter) Write(p []byte) (int, error) {
	*c += counter(len(p))
	return len(p), nil
}
