package cuda

import (
	"archive/tar"
	"context"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/makeself/makeselftest"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

const version = "535.261.03"

// manifest535 lists the package that members makes.
const manifest535 = head + `nvidia-installer 0755 INSTALLER_BINARY MODULE:installer
kernel/Makefile 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman
kernel/conftest.sh 0755 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman
kernel/nvidia/nv.c 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman
kernel/dkms.conf 0644 DKMS_CONF INHERIT_PATH_DEPTH:1 MODULE:resman
kernel-open/Makefile 0644 KERNEL_MODULE_SRC INHERIT_PATH_DEPTH:1 MODULE:resman-open
firmware/gsp_ga10x.bin 0644 FIRMWARE INHERIT_PATH_DEPTH:1 MODULE:gsp
libcuda.so.535.261.03 0755 CUDA_LIB NATIVE . MODULE:gpgpu
`

// members are the files of a whole package, in an order that helps nobody.
func members() []makeselftest.Member {
	return []makeselftest.Member{
		{Name: "./libcuda.so.535.261.03", Content: "library", Mode: 0o755},
		{Name: "./kernel/", Type: tar.TypeDir, Mode: 0o755},
		{Name: "./kernel/conftest.sh", Content: "tests", Mode: 0o755},
		{Name: "./kernel/Makefile", Content: "make"},
		{Name: "./kernel/nvidia/nv.c", Content: "source"},
		{Name: "./kernel/dkms.conf", Content: "dkms"},
		{Name: "./kernel/precompiled/old", Content: "another kernel's"},
		{Name: "./kernel-open/Makefile", Content: "make open"},
		{Name: "./firmware/gsp_ga10x.bin", Content: "firmware"},
		{Name: "./nvidia-installer", Content: "installer", Mode: 0o755},
		{Name: "./.manifest", Content: manifest535},
	}
}

// unpacked is what a build gets of it.
var unpacked = []string{
	".manifest -rw-r--r--",
	"firmware/gsp_ga10x.bin -rw-r--r--",
	"kernel/Makefile -rw-r--r--",
	"kernel/conftest.sh -rwxr-xr-x",
	"kernel/dkms.conf -rw-r--r--",
	"kernel/nvidia/nv.c -rw-r--r--",
	"kernel-open/Makefile -rw-r--r--",
	"nvidia-installer -rwxr-xr-x",
}

func files(t *testing.T, dir string) []string {
	t.Helper()
	var list []string
	err := filepath.WalkDir(dir, func(name string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		rel, _ := filepath.Rel(dir, name)
		list = append(list, rel+" "+info.Mode().String())
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return list
}

// writeRun makes a .run of members and returns the package.
func writeRun(t *testing.T, run makeselftest.Run, alter func([]byte) []byte) Package {
	t.Helper()
	data := run.Bytes()
	if alter != nil {
		data = alter(data)
	}
	p := Package{
		Path: filepath.Join(t.TempDir(), "NVIDIA-Linux-x86_64-"+version+".run"),
		Kind: RunFile, Version: version, Arch: kernel.X86_64,
	}
	if err := os.WriteFile(p.Path, data, 0o644); err != nil {
		t.Fatal(err)
	}
	return p
}

func run(t *testing.T, list ...makeselftest.Member) makeselftest.Run {
	return makeselftest.Run{
		Label: "NVIDIA Accelerated Graphics Driver for Linux-x86_64 " + version, Version: version,
		Arch: "x86_64", TargetDir: "NVIDIA-Linux-x86_64-" + version,
		Decompressor: []byte("\x7fELF\n\x00"),
		Payload:      makeselftest.Zstd(t, makeselftest.Tar(t, list...)),
	}
}

// writeFolder unpacks members as a user would.
func writeFolder(t *testing.T) Package {
	t.Helper()
	p := Package{
		Path: filepath.Join(t.TempDir(), "NVIDIA-Linux-x86_64-"+version),
		Kind: Folder, Version: version, Arch: kernel.X86_64,
	}
	for _, m := range members() {
		if m.Type == tar.TypeDir {
			continue
		}
		write(t, filepath.Join(p.Path, m.Name), m.Content, fs.FileMode(m.Mode))
	}
	return p
}

func write(t *testing.T, name, content string, mode fs.FileMode) {
	t.Helper()
	if mode == 0 {
		mode = 0o644
	}
	if err := os.MkdirAll(filepath.Dir(name), 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(name, []byte(content), mode); err != nil {
		t.Fatal(err)
	}
}

func TestUnpackRun(t *testing.T) {
	t.Parallel()
	tarball := makeselftest.Tar(t, members()...)
	for name, payload := range map[string][]byte{
		"gzip": makeselftest.Gzip(t, tarball), "xz": makeselftest.XZ(t, tarball), "zstd": makeselftest.Zstd(t, tarball),
	} {
		t.Run(name, func(t *testing.T) {
			r := run(t)
			r.Payload = payload
			p := writeRun(t, r, nil)
			dst := filepath.Join(t.TempDir(), "driver")
			d, err := Unpack(t.Context(), p, dst)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(unpacked, files(t, dst)); diff != "" {
				t.Error(diff)
			}
			digest, err := p.Digest(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			m, err := ParseManifest(strings.NewReader(manifest535))
			if err != nil {
				t.Fatal(err)
			}
			want := Driver{Dir: dst, Version: version, Arch: kernel.X86_64, Digest: digest, Manifest: m, Sizes: runSizes()}
			if diff := cmp.Diff(want, d); diff != "" {
				t.Error(diff)
			}
		})
	}
}

// runSizes are the sizes of members, as a .run tells them.
func runSizes() map[string]int64 {
	sizes := map[string]int64{}
	for _, m := range members() {
		if m.Type != tar.TypeDir {
			sizes[strings.TrimPrefix(m.Name, "./")] = int64(len(m.Content))
		}
	}
	return sizes
}

func TestInspect(t *testing.T) {
	t.Parallel()
	m, err := ParseManifest(strings.NewReader(manifest535))
	if err != nil {
		t.Fatal(err)
	}
	listed := runSizes()
	delete(listed, manifestName) // of a folder, only what the manifest lists
	delete(listed, "kernel/precompiled/old")
	for name, c := range map[string]struct {
		p     Package
		sizes map[string]int64
	}{
		"run":    {writeRun(t, run(t, members()...), nil), runSizes()},
		"folder": {writeFolder(t), listed},
	} {
		t.Run(name, func(t *testing.T) {
			scratch := filepath.Join(t.TempDir(), "inspect")
			got, err := Inspect(t.Context(), c.p, scratch)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Contents{Manifest: m, Sizes: c.sizes}, got); diff != "" {
				t.Error(diff)
			}
			if _, err := os.Stat(scratch); !errors.Is(err, fs.ErrNotExist) {
				t.Errorf("scratch is left: %v", err)
			}
			c.p.Version = "535.1"
			_, err = Inspect(t.Context(), c.p, scratch)
			if stage.ExitCode(err) != 11 || !strings.Contains(err.Error(), "its name says version 535.1") {
				t.Errorf("another version: %v", err)
			}
		})
	}
}

func TestMembers(t *testing.T) {
	t.Parallel()
	const library = "libcuda.so.535.261.03"
	for name, p := range map[string]Package{
		"run":    writeRun(t, run(t, members()...), nil),
		"folder": writeFolder(t),
	} {
		t.Run(name, func(t *testing.T) {
			dst := filepath.Join(t.TempDir(), "members")
			got, err := Members(t.Context(), p, dst, []string{library})
			if err != nil {
				t.Fatal(err)
			}
			if text, err := os.ReadFile(got[library]); err != nil || string(text) != "library" || len(got) != 1 {
				t.Errorf("%v: %q, %v", got, text, err)
			}
			if diff := cmp.Diff([]string{library + " -rwxr-xr-x"}, files(t, dst)); diff != "" {
				t.Error(diff)
			}
			_, err = Members(t.Context(), p, filepath.Join(t.TempDir(), "other"), []string{"absent"})
			if stage.ExitCode(err) != 11 || !strings.Contains(err.Error(), "absent") {
				t.Errorf("an absent member: %v", err)
			}
		})
	}
}

// TestMembersStayInTheFolder has a folder whose owner would have root read what
// is elsewhere.
func TestMembersStayInTheFolder(t *testing.T) {
	t.Parallel()
	secret := filepath.Join(t.TempDir(), "shadow")
	write(t, secret, "secret", 0o600)
	p := writeFolder(t)
	for name, target := range map[string]string{"libcuda.so.535.261.03": secret, "elsewhere": filepath.Dir(secret)} {
		path := filepath.Join(p.Path, name)
		if err := errors.Join(os.RemoveAll(path), os.Symlink(target, path)); err != nil {
			t.Fatal(err)
		}
	}
	c, err := Inspect(t.Context(), p, "")
	if err != nil {
		t.Fatal(err)
	}
	if _, there := c.Sizes["libcuda.so.535.261.03"]; there {
		t.Error("a link is taken for a library")
	}
	for _, name := range []string{"libcuda.so.535.261.03", "elsewhere/shadow"} {
		paths, err := Members(t.Context(), p, filepath.Join(t.TempDir(), "members"), []string{name})
		if stage.ExitCode(err) != 11 {
			t.Errorf("%s: %v, %v", name, paths, err)
		}
	}
}

func TestUnpackFolder(t *testing.T) {
	t.Parallel()
	p := writeFolder(t)
	// An installer that ran in the folder left these.
	write(t, filepath.Join(p.Path, "kernel/nvidia/nv.o"), "another kernel's", 0)
	write(t, filepath.Join(p.Path, "kernel/conftest/functions.h"), "another kernel's", 0)
	before := files(t, p.Path)
	dst := filepath.Join(t.TempDir(), "driver")
	d, err := Unpack(t.Context(), p, dst)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(unpacked, files(t, dst)); diff != "" {
		t.Error(diff)
	}
	digest, err := p.Digest(t.Context())
	if err != nil || digest != d.Digest {
		t.Errorf("digest %s, %v; the package's is %s", d.Digest, err, digest)
	}
	if diff := cmp.Diff(before, files(t, p.Path)); diff != "" {
		t.Errorf("the user's folder changed: %s", diff)
	}
	a, errA := os.Stat(filepath.Join(p.Path, "kernel/nvidia/nv.c"))
	b, errB := os.Stat(filepath.Join(dst, "kernel/nvidia/nv.c"))
	if err := errors.Join(errA, errB); err != nil {
		t.Fatal(err)
	}
	if os.SameFile(a, b) {
		t.Error("the copy shares files with the user's folder")
	}
}

// An installer that may not be executed is for the build to report.
func TestUnpackKeepsModes(t *testing.T) {
	t.Parallel()
	p := writeFolder(t)
	if err := os.Chmod(filepath.Join(p.Path, installerName), 0o644); err != nil {
		t.Fatal(err)
	}
	d, err := Unpack(t.Context(), p, filepath.Join(t.TempDir(), "driver"))
	if err != nil {
		t.Fatal(err)
	}
	if info, err := os.Stat(d.Installer()); err != nil || info.Mode().Perm() != 0o644 {
		t.Errorf("%v, %v", info.Mode(), err)
	}
}

func TestDigestFollowsContent(t *testing.T) {
	t.Parallel()
	p := writeFolder(t)
	digest := func() string {
		t.Helper()
		d, err := p.Digest(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return d
	}
	first := digest()
	write(t, filepath.Join(p.Path, "libcuda.so.535.261.03"), "not built from", 0)
	if digest() != first {
		t.Error("a file that is not built from changed the digest")
	}
	write(t, filepath.Join(p.Path, "kernel/nvidia/nv.c"), "SOURCE", 0)
	second := digest()
	if second == first {
		t.Error("a source changed and the digest did not")
	}
	if err := os.Chmod(filepath.Join(p.Path, "kernel/conftest.sh"), 0o644); err != nil {
		t.Fatal(err)
	}
	if digest() == second {
		t.Error("a script became plain text and the digest did not change")
	}
}

func TestFingerprint(t *testing.T) {
	t.Parallel()
	for _, p := range []Package{writeFolder(t), writeRun(t, run(t, members()...), nil)} {
		t.Run(string(p.Kind), func(t *testing.T) {
			first, err := p.Fingerprint()
			if err != nil {
				t.Fatal(err)
			}
			if again, err := p.Fingerprint(); err != nil || again != first {
				t.Errorf("%s, then %s, %v", first, again, err)
			}
			name := p.Path
			if p.Kind == Folder {
				name = filepath.Join(p.Path, "kernel/Makefile")
			}
			data, err := os.ReadFile(name)
			if err != nil {
				t.Fatal(err)
			}
			write(t, name, string(data)+"x", 0)
			if again, err := p.Fingerprint(); err != nil || again == first {
				t.Errorf("unchanged by a change, %v", err)
			}
		})
	}
}

func TestUnpackBadRun(t *testing.T) {
	t.Parallel()
	const name = "the driver package NVIDIA-Linux-x86_64-535.261.03.run "
	with := func(extra ...makeselftest.Member) makeselftest.Run { return run(t, append(members(), extra...)...) }
	without := func(name string) makeselftest.Run {
		var list []makeselftest.Member
		for _, m := range members() {
			if m.Name != name {
				list = append(list, m)
			}
		}
		return run(t, list...)
	}
	unchecked := with()
	unchecked.NoChecksums = true
	arm, older := with(), with()
	arm.Arch, older.Version = "aarch64", "440.44"
	for _, c := range []struct {
		name   string
		run    makeselftest.Run
		alter  func([]byte) []byte
		reason string
		cause  string
	}{
		{
			name: "truncated", run: with(), alter: func(b []byte) []byte { return b[:len(b)-10] },
			reason: "was cut short or altered since NVIDIA made it", cause: "its MD5 is ",
		},
		{
			name: "truncated in the script", run: with(), alter: func(b []byte) []byte { return b[:200] },
			reason: "was cut short or altered since NVIDIA made it", cause: "the file ends at line",
		},
		{
			name: "truncated, without checksums", run: unchecked, alter: func(b []byte) []byte { return b[:len(b)-10] },
			reason: "was cut short or altered since NVIDIA made it", cause: "unexpected EOF",
		},
		{
			name: "altered", run: with(), alter: func(b []byte) []byte { b[len(b)-10] ^= 1; return b },
			reason: "was cut short or altered since NVIDIA made it", cause: "and its header says ",
		},
		{
			name: "a web page", run: with(), alter: func([]byte) []byte { return []byte("<html>Access denied</html>\n") },
			reason: "is not a driver package of NVIDIA's", cause: "does not begin with a shell script",
		},
		{
			name: "climbs out", run: with(makeselftest.Member{Name: "../../outside", Content: "x"}),
			reason: "holds what no driver package of NVIDIA's does, so nothing of it is used", cause: `member "../../outside" climbs out of the folder`,
		},
		{
			name:   "climbs out by a link",
			run:    with(makeselftest.Member{Name: "./kernel/l", Type: tar.TypeSymlink, Link: "../.."}, makeselftest.Member{Name: "./kernel/l/outside", Content: "x"}),
			reason: "holds what no driver package of NVIDIA's does, so nothing of it is used", cause: `member "./kernel/l" is a symbolic link out of the folder`,
		},
		{name: "another architecture", run: arm, reason: "is not what its name says", cause: "its name says architecture x86_64, and its content aarch64"},
		{name: "another version", run: older, reason: "is not what its name says", cause: "its name says version 535.261.03, and its content 440.44"},
		{name: "no manifest", run: without("./.manifest"), reason: "cannot be used", cause: "it has no .manifest, as if not unpacked whole"},
		{name: "no installer", run: without("./nvidia-installer"), reason: "cannot be used", cause: "nvidia-installer, which a build needs, is missing"},
		{name: "a source missing", run: without("./kernel/nvidia/nv.c"), reason: "cannot be used", cause: "kernel/nvidia/nv.c, which a build needs, is missing"},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := writeRun(t, c.run, c.alter)
			outer := t.TempDir()
			_, err := Unpack(t.Context(), p, filepath.Join(outer, "deep", "driver"))
			var e *stage.Error
			if !errors.As(err, &e) || stage.ExitCode(err) != 11 {
				t.Fatalf("Unpack = %v", err)
			}
			if e.Reason != name+c.reason {
				t.Errorf("reason %q, want %q", e.Reason, name+c.reason)
			}
			if e.Hint == "" || !strings.Contains(e.Error(), c.cause) {
				t.Errorf("%v\nwant %q", e, c.cause)
			}
			if left := files(t, outer); left != nil {
				t.Errorf("left behind: %v", left)
			}
			if _, err := os.Stat(p.Path); err != nil {
				t.Error(err)
			}
		})
	}
}

func TestUnpackBadFolder(t *testing.T) {
	t.Parallel()
	const name = "the driver package NVIDIA-Linux-x86_64-535.261.03 "
	for _, c := range []struct {
		name          string
		spoil         func(dir string) error
		reason, cause string
	}{
		{
			"another version", func(dir string) error {
				return os.WriteFile(filepath.Join(dir, manifestName), []byte(strings.Replace(manifest535, version, "440.44", 1)), 0o644)
			}, "is not what its name says", "its name says version 535.261.03, and its content 440.44",
		},
		{
			"half unpacked", func(dir string) error { return os.RemoveAll(filepath.Join(dir, "kernel")) },
			"cannot be used", "kernel/Makefile and 3 other files that a build needs are missing",
		},
		{
			"no manifest", func(dir string) error { return os.Remove(filepath.Join(dir, manifestName)) },
			"cannot be used", "it has no .manifest, as if not unpacked whole",
		},
		{
			"a broken manifest", func(dir string) error { return os.WriteFile(filepath.Join(dir, manifestName), nil, 0o644) },
			"cannot be used", "its .manifest: ends at line 0",
		},
		{
			"a source that would block", func(dir string) error {
				name := filepath.Join(dir, "kernel/nvidia/nv.c")
				return errors.Join(os.Remove(name), syscall.Mkfifo(name, 0o644))
			}, "cannot be used", "kernel/nvidia/nv.c, which a build needs, is missing",
		},
		{
			"a source outside", func(dir string) error {
				name := filepath.Join(dir, "kernel/nvidia/nv.c")
				return errors.Join(os.Remove(name), os.Symlink("/etc/passwd", name))
			}, "cannot be used", "kernel/nvidia/nv.c, which a build needs, is missing",
		},
	} {
		t.Run(c.name, func(t *testing.T) {
			p := writeFolder(t)
			if err := c.spoil(p.Path); err != nil {
				t.Fatal(err)
			}
			outer := t.TempDir()
			_, err := Unpack(t.Context(), p, filepath.Join(outer, "driver"))
			checkError(t, err, name+c.reason, hintOf(err))
			if !strings.Contains(err.Error(), c.cause) {
				t.Errorf("%v\nwant %q", err, c.cause)
			}
			if left := files(t, outer); left != nil {
				t.Errorf("left behind: %v", left)
			}
		})
	}
}

func hintOf(err error) string {
	var e *stage.Error
	if errors.As(err, &e) {
		return e.Hint
	}
	return ""
}

func TestUnpackCanceled(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	for _, p := range []Package{writeFolder(t), writeRun(t, run(t, members()...), nil)} {
		dst := filepath.Join(t.TempDir(), "driver")
		_, err := Unpack(ctx, p, dst)
		if !errors.Is(err, context.Canceled) || stage.ExitCode(err) != stage.ExitInterrupted {
			t.Errorf("Unpack = %v", err)
		}
		if _, err := os.Stat(dst); !errors.Is(err, fs.ErrNotExist) {
			t.Errorf("dst is still there: %v", err)
		}
	}
}

func TestRemoveSources(t *testing.T) {
	t.Parallel()
	d, err := Unpack(t.Context(), writeFolder(t), filepath.Join(t.TempDir(), "driver"))
	if err != nil {
		t.Fatal(err)
	}
	write(t, filepath.Join(d.Dir, "kernel/nvidia/nv.o"), "compiled", 0)
	if err := d.RemoveSources(); err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff([]string{".manifest -rw-r--r--", "firmware/gsp_ga10x.bin -rw-r--r--", "nvidia-installer -rwxr-xr-x"}, files(t, d.Dir)); diff != "" {
		t.Error(diff)
	}
}
