package node

import (
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/hex"
	"encoding/pem"
	"errors"
	"fmt"
	"io/fs"
	"math/big"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/modules/signature"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/share/publish"
	"github.com/k8sp/cuda/pkg/stage"
)

// The key that hosts of these tests trust, and one that they do not.
const (
	keys        = "../modules/signature/testdata/"
	trusted     = keys + "rsa.pem"
	theirs      = keys + "noskid"
	driverIndex = "driver/" + testDriver + "/manifest.json"
)

// sign signs all that the machine's share has, as a build does.
func (m *machine) sign(t *testing.T, key string) {
	t.Helper()
	for _, file := range []string{m.published("manifest.json"), filepath.Join(m.share, driverIndex)} {
		m.signFile(t, key, file)
	}
}

func (m *machine) signFile(t *testing.T, key, file string) {
	t.Helper()
	s, err := signature.LoadDetached(signature.Options{Key: key + ".key", Certificate: key + ".pem"})
	if err != nil {
		t.Fatal(err)
	}
	sig, err := s.SignDetached([]byte(read(t, file)))
	if err != nil {
		t.Fatal(err)
	}
	write(t, file+".p7s", string(sig))
}

// rewrite has the manifest say something else, as whoever writes the share can.
func (m *machine) rewrite(t *testing.T, change func(*modules.Manifest)) {
	t.Helper()
	manifest, err := modules.ParseManifest(strings.NewReader(read(t, m.published("manifest.json"))))
	if err != nil {
		t.Fatal(err)
	}
	change(&manifest)
	text, err := manifest.Encode()
	if err != nil {
		t.Fatal(err)
	}
	write(t, m.published("manifest.json"), string(text))
}

// evil replaces a published file, and gives its size and digest.
func evil(t *testing.T, path string) (size int64, digest string) {
	t.Helper()
	text := read(t, path) + "evil\n"
	write(t, path, text)
	sum := sha256.Sum256([]byte(text))
	return int64(len(text)), hex.EncodeToString(sum[:])
}

// evilModule replaces a module and the manifest that has its digest.
func (m *machine) evilModule(t *testing.T) {
	t.Helper()
	size, digest := evil(t, m.published("nvidia.ko"))
	m.rewrite(t, func(manifest *modules.Manifest) {
		i := slices.IndexFunc(manifest.Modules, func(e modules.Entry) bool { return e.Name == "nvidia" })
		manifest.Modules[i].Size, manifest.Modules[i].SHA256 = size, digest
	})
}

// withRun mounts the host's /run/cuda, and returns where it is on this machine.
func (m *machine) withRun(t *testing.T) string {
	t.Helper()
	return m.withPlace(t, runDir)
}

// withPlace mounts a folder of the host's at the same path.
func (m *machine) withPlace(t *testing.T, name string) string {
	t.Helper()
	dir := m.own + name
	if err := os.MkdirAll(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	m.mount(t, dir, "tmpfs")
	file := filepath.Join(m.host, "proc/1/mountinfo")
	write(t, file, read(t, file)+"33 25 0:5 / "+name+" rw - tmpfs tmpfs rw\n")
	return dir
}

func trusting(names ...string) func(*LoadOptions) {
	return func(o *LoadOptions) { o.Trust = names }
}

// TestLoadOfWhatIsSigned loads it, and has the kernel find firmware where only root
// writes: what becomes of the share later is no matter.
func TestLoadOfWhatIsSigned(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	m.sign(t, keys+"rsa")
	run := m.withRun(t)
	got := m.load(t, trusting(trusted))
	if got.State != Loaded || got.Firmware != m.firmwarePath(t) {
		t.Errorf("%+v", got)
	}
	m.called(t, "+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm")
	if said := m.log.String(); strings.Count(said, "signed by somebody who is trusted") != 1 {
		t.Errorf("%s", said)
	}
	if !strings.HasPrefix(got.Firmware, runDir+"/firmware-"+testDriver+"-") {
		t.Fatalf("the kernel looks for firmware in %s", got.Firmware)
	}
	file := filepath.Join(m.own, got.Firmware, "nvidia", testDriver, "gsp_tu10x.bin")
	for range 2 {
		if text := read(t, file); text != "gsp_tu10x.bin\n" {
			t.Errorf("the firmware is %q", text)
		}
		info, err := os.Stat(file)
		if err != nil || info.Mode().Perm() != 0o644 {
			t.Errorf("%v, %v", info.Mode(), err)
		}
		write(t, m.published("firmware/nvidia/"+testDriver+"/gsp_tu10x.bin"), "evil\n")
	}
	if names, said := m.loadRefused(t, trusting(trusted)); !slices.Equal(names, []string{"damaged"}) {
		t.Errorf("%q\n%s", names, said)
	}
	write(t, m.published("firmware/nvidia/"+testDriver+"/gsp_tu10x.bin"), "gsp_tu10x.bin\n")
	// What is there of it is looked at, and what is of another driver goes.
	write(t, file, "half\n")
	write(t, filepath.Join(run, "firmware-1.2-0123456789ab/x"), "")
	write(t, filepath.Join(run, "theirs/x"), "")
	if got := m.load(t, trusting(filepath.Dir(trusted)+"/p256.pem", trusted)); got.State != AlreadyLoaded || got.Firmware != m.firmwarePath(t) {
		t.Errorf("%+v", got)
	}
	if text := read(t, file); text != "gsp_tu10x.bin\n" {
		t.Errorf("the firmware is %q", text)
	}
	entries, err := os.ReadDir(run)
	var there []string
	for _, e := range entries {
		if e.IsDir() {
			there = append(there, e.Name())
		}
	}
	if want := []string{filepath.Base(got.Firmware), "theirs"}; err != nil || !slices.Equal(there, want) {
		t.Errorf("/run/cuda has %q, %v, want %q", there, err, want)
	}
	m.unload(t)
	if path := m.firmwarePath(t); path != "" {
		t.Errorf("after unload the kernel looks for firmware in %q", path)
	}
}

// signExpired signs all that the share has, and returns the file of that key's
// certificate as it is when it has expired.
func (m *machine) signExpired(t *testing.T) string {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	dir := t.TempDir()
	put := func(name, kind string, der []byte) {
		write(t, filepath.Join(dir, name), string(pem.EncodeToMemory(&pem.Block{Type: kind, Bytes: der})))
	}
	put("new.key", "PRIVATE KEY", der)
	for name, until := range map[string]time.Duration{"new.pem": time.Hour, "old.pem": -time.Hour} {
		template := &x509.Certificate{SerialNumber: big.NewInt(7), Subject: pkix.Name{CommonName: "ours"}, NotBefore: time.Now().Add(-2 * time.Hour), NotAfter: time.Now().Add(until)}
		cert, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			t.Fatal(err)
		}
		put(name, "CERTIFICATE", cert)
	}
	m.sign(t, filepath.Join(dir, "new"))
	return filepath.Join(dir, "old.pem")
}

// TestLoadRefusesWhatNobodyTrustedHasSigned has whoever owns the share do what they
// can, before a load with --trust. The kernel is handed nothing, and nothing of the
// host is changed.
func TestLoadRefusesWhatNobodyTrustedHasSigned(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		stage func(t *testing.T, m *machine) (trust string) // "" is the certificate
		kind  string
		says  []string
	}{
		{"an unsigned result", func(t *testing.T, m *machine) string {
			remove(t, m.published("manifest.json.p7s"))
			return ""
		}, "untrusted", []string{"there is no manifest.json.p7s beside it", "--sign-manifest"}},
		{"a module and the manifest that has its digest", func(t *testing.T, m *machine) string {
			m.evilModule(t)
			return ""
		}, "untrusted", []string{"manifest.json.p7s: it is of something else"}},
		{"the same, signed with a key of their own", func(t *testing.T, m *machine) string {
			m.evilModule(t)
			m.sign(t, theirs)
			return ""
		}, "untrusted", []string{"it is by another key", "test noskid"}},
		{"the same, with the certificate in the share", func(t *testing.T, m *machine) string {
			m.evilModule(t)
			m.sign(t, theirs)
			file := filepath.Join(m.share, "trust/cert.pem")
			write(t, file, read(t, theirs+".pem"))
			return filepath.Dir(file)
		}, "untrusted", []string{"trust/cert.pem is in", "whoever writes that can put any"}},
		{"a module alone", func(t *testing.T, m *machine) string {
			evil(t, m.published("nvidia.ko"))
			return ""
		}, "damaged", []string{"nvidia.ko"}},
		{"firmware and the manifest that has its digest", func(t *testing.T, m *machine) string {
			size, digest := evil(t, m.published("firmware/nvidia/"+testDriver+"/gsp_tu10x.bin"))
			m.rewrite(t, func(manifest *modules.Manifest) {
				manifest.Firmware[1].Size, manifest.Firmware[1].SHA256 = size, digest
			})
			return ""
		}, "untrusted", []string{"it is of something else"}},
		{"a check that is said to have been let pass", func(t *testing.T, m *machine) string {
			m.rewrite(t, func(manifest *modules.Manifest) { manifest.Overridden = []string{"vermagic", "signature"} })
			return ""
		}, "untrusted", []string{"it is of something else"}},
		{"a library and the manifest that has its digest", func(t *testing.T, m *machine) string {
			library := filepath.Join(m.share, "driver", testDriver, "usr/lib64/libcuda.so."+testDriver)
			old := sha256.Sum256([]byte(read(t, library)))
			length := len(read(t, library))
			size, digest := evil(t, library)
			index := filepath.Join(m.share, driverIndex)
			text := strings.Replace(read(t, index), hex.EncodeToString(old[:]), digest, 1)
			write(t, index, strings.Replace(text, fmt.Sprintf(`"size": %d`, length), fmt.Sprintf(`"size": %d`, size), 1))
			return ""
		}, "untrusted", []string{"user-space side of this driver", "it is of something else"}},
		{"libraries that nobody has signed", func(t *testing.T, m *machine) string {
			remove(t, filepath.Join(m.share, driverIndex+".p7s"))
			return ""
		}, "untrusted", []string{"user-space side of this driver", "there is no manifest.json.p7s"}},
		{"the manifest of the libraries in the place of the modules'", func(t *testing.T, m *machine) string {
			for _, suffix := range []string{"", ".p7s"} {
				write(t, m.published("manifest.json")+suffix, read(t, filepath.Join(m.share, driverIndex)+suffix))
			}
			return ""
		}, "damaged", nil},
		{"another driver's signed manifest", func(t *testing.T, m *machine) string {
			m.rewrite(t, func(manifest *modules.Manifest) { manifest.Driver.Version = "1.2" })
			m.sign(t, keys+"rsa")
			return ""
		}, "damaged", []string{"holds modules of 1.2"}},
		{"half a signature", func(t *testing.T, m *machine) string {
			sig := read(t, m.published("manifest.json.p7s"))
			write(t, m.published("manifest.json.p7s"), sig[:len(sig)/2])
			return ""
		}, "untrusted", []string{"not the whole of one"}},
		{"an endless signature", func(t *testing.T, m *machine) string {
			write(t, m.published("manifest.json.p7s"), strings.Repeat("x", 1<<20))
			return ""
		}, "untrusted", []string{"more than 64 KiB"}},
		{"no certificate at all", func(t *testing.T, _ *machine) string { return t.TempDir() }, "untrusted", []string{"has no certificates in it"}},
		{"a certificate of another", func(*testing.T, *machine) string { return keys + "p256.pem" }, "untrusted", []string{"it is by another key", "test p256"}},
		{"no place for the firmware", func(t *testing.T, m *machine) string {
			m.unmount(t, m.own+runDir)
			return ""
		}, "root-place", []string{"/run/cuda is not mounted", "-v /run/cuda:/run/cuda"}},
		{"a place for the firmware that anybody writes", func(t *testing.T, m *machine) string {
			if err := os.Chmod(m.own+runDir, 0o777); err != nil {
				t.Fatal(err)
			}
			return ""
		}, "root-place", []string{"can be written by everybody"}},
		{"a place for the firmware that the host does not have", func(t *testing.T, m *machine) string {
			write(t, filepath.Join(m.host, "proc/1/mountinfo"), disk)
			return ""
		}, "root-place", []string{"is nowhere on the host"}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			m := newMachine(t)
			m.sign(t, keys+"rsa")
			m.withRun(t)
			trust := tt.stage(t, m)
			if trust == "" {
				trust = trusted
			}
			names, said := m.loadRefused(t, trusting(trust))
			if !slices.Equal(names, []string{tt.kind}) {
				t.Errorf("%q, want %q\n%s", names, tt.kind, said)
			}
			for _, part := range tt.says {
				if !strings.Contains(said, part) {
					t.Errorf("it does not say %q:\n%s", part, said)
				}
			}
			m.called(t)
			if path := m.firmwarePath(t); path != "" {
				t.Errorf("the kernel looks for firmware in %s", path)
			}
			if _, err := os.Stat(filepath.Join(m.share, "cdi")); err == nil {
				t.Error("there is a CDI specification")
			}
		})
	}
}

// TestLoadRefusesACertificate that vouches for nothing, or that is not there.
func TestLoadRefusesACertificate(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	old := m.signExpired(t)
	names, said := m.loadRefused(t, trusting(old))
	if !slices.Equal(names, []string{"untrusted"}) || !strings.Contains(said, "it is by CN=ours, whose certificate has expired, on ") {
		t.Errorf("%q\n%s", names, said)
	}
	_, err := Load(m.context(t), m.options(trusting("/absent/cert.pem")))
	if stage.ExitCode(err) != 2 || !strings.Contains(err.Error(), "/absent/cert.pem") {
		t.Errorf("a certificate that is not there: %v", err)
	}
	m.called(t)
	m.withRun(t)
	if got := m.load(t, trusting(old, strings.TrimSuffix(old, "old.pem")+"new.pem")); got.State != Loaded {
		t.Errorf("beside its successor: %+v", got)
	}
}

// TestLoadWhileItIsChanged has the share's owner change what was verified, before it is
// used.
func TestLoadWhileItIsChanged(t *testing.T) {
	t.Parallel()
	for name, file := range map[string]string{
		"a module": "nvidia.ko", "the firmware": "firmware/nvidia/" + testDriver + "/gsp_tu10x.bin",
	} {
		m := newMachine(t)
		m.sign(t, keys+"rsa")
		m.withRun(t)
		m.kernel.BeforeTry = func() { evil(t, m.published(file)) }
		if names, said := m.loadRefused(t, trusting(trusted)); !slices.Equal(names, []string{"damaged"}) {
			t.Errorf("%s: %q\n%s", name, names, said)
		}
		m.called(t)
		if path := m.firmwarePath(t); path != "" {
			t.Errorf("%s: the kernel looks for firmware in %s", name, path)
		}
		left, err := filepath.Glob(m.own + runDir + "/*/nvidia/*/*")
		if err != nil {
			t.Fatal(err)
		}
		for _, path := range left {
			if strings.Contains(read(t, path), "evil") {
				t.Errorf("%s: %s is what nobody has signed", name, path)
			}
		}
	}
}

// TestLoadWithoutSpace for what is to be copied is not said to be damage.
func TestLoadWithoutSpace(t *testing.T) {
	t.Parallel()
	for _, err := range []error{unix.ENOSPC, unix.EROFS} {
		if got := notKept(&os.PathError{Op: "write", Path: runDir, Err: err}, Damaged.Of("x")); got.Name != NoRootPlace.Name || !strings.Contains(got.Says, err.Error()) {
			t.Errorf("%+v", got)
		}
	}
	for _, err := range []error{fmt.Errorf("x %w", publish.ErrChanged), fs.ErrNotExist, publish.Untrusted("x")} {
		if got := notKept(err, Damaged.Of("x")); got.Name != Damaged.Name {
			t.Errorf("%v: %+v", err, got)
		}
	}
}

// TestLoadTakesTheKernelsEyesOffTheShare: a load with nobody named has had the kernel
// look for firmware in the share, where it looks first whatever the host has.
func TestLoadTakesTheKernelsEyesOffTheShare(t *testing.T) {
	t.Parallel()
	for _, hosts := range []bool{false, true} {
		m := newMachine(t)
		m.sign(t, keys+"rsa")
		m.load(t, nil)
		if path := m.firmwarePath(t); path != m.published("firmware") {
			t.Fatalf("the search path is %q", path)
		}
		if hosts {
			for _, name := range []string{"gsp_ga10x.bin", "gsp_tu10x.bin"} {
				write(t, filepath.Join(m.host, "lib/firmware/nvidia", testDriver, name), "firmware\n")
			}
		}
		m.withRun(t)
		m.load(t, trusting(trusted))
		if path := m.firmwarePath(t); !strings.HasPrefix(path, runDir+"/firmware-") {
			t.Errorf("the host has it: %t; the search path is %q", hosts, path)
		}
		m.unload(t)
		if path := m.firmwarePath(t); path != "" {
			t.Errorf("the host has it: %t; after unload the search path is %q", hosts, path)
		}
	}
	// What was set by somebody else, outside of the share, is the host's.
	m := newMachine(t)
	m.sign(t, keys+"rsa")
	m.setFirmware(t, "/theirs")
	for _, name := range []string{"gsp_ga10x.bin", "gsp_tu10x.bin"} {
		write(t, filepath.Join(m.host, "theirs/nvidia", testDriver, name), "firmware\n")
	}
	m.load(t, trusting(trusted))
	if path := m.firmwarePath(t); path != "/theirs" {
		t.Errorf("the search path is %q", path)
	}
}

// TestLoadCopiesTheUserSpace to where only root writes, if it is told where.
func TestLoadCopiesTheUserSpace(t *testing.T) {
	t.Parallel()
	const place = "/var/lib/cuda"
	m := newMachine(t)
	m.sign(t, keys+"rsa")
	dir := m.withPlace(t, place)
	cdiDir := t.TempDir()
	change := func(o *LoadOptions) { o.Trust, o.CopyTo, o.CDIDir = []string{trusted}, dir, cdiDir }
	got := m.load(t, change)
	if !strings.HasPrefix(m.firmwarePath(t), place+"/firmware-") || filepath.Dir(got.UserSpace) != dir {
		t.Errorf("%+v", got)
	}
	library := filepath.Join("usr/lib64", "libcuda.so."+testDriver)
	if text := read(t, filepath.Join(got.UserSpace, library)); text != "a library\n" {
		t.Errorf("the library is %q", text)
	}
	spec := read(t, got.CDI)
	if strings.Contains(spec, m.share) || !strings.Contains(spec, filepath.Join(place, filepath.Base(got.UserSpace), library)) {
		t.Errorf("containers mount\n%s", spec)
	}
	if said := m.log.String(); strings.Contains(said, "can be changed later") {
		t.Errorf("%s", said)
	}
	// The library changes after it was looked at, in time for the copy.
	remove(t, got.UserSpace)
	s, err := share.Open(m.share)
	if err != nil {
		t.Fatal(err)
	}
	l := loader{LoadOptions: LoadOptions{CopyTo: dir, Trust: []string{trusted}}, share: s, host: open(t, m.host), own: open(t, m.own)}
	l.access.own, l.result.Driver = l.own, testDriver
	if err := l.readTrust(); err != nil {
		t.Fatal(err)
	}
	root, err := userspace.Find(l.share, testDriver, l.trust)
	if err != nil {
		t.Fatal(err)
	}
	evil(t, filepath.Join(root.Dir, library))
	if _, _, err := l.copyUserSpace(t.Context(), root); err == nil || !strings.Contains(err.Error(), "changed after it was checked") {
		t.Errorf("error %v", err)
	}
	if left, err := filepath.Glob(dir + "/*driver-*"); err != nil || len(left) != 0 {
		t.Errorf("left %q, %v", left, err)
	}
}

// TestLoadSaysWhoCanWrite what it loads, once, where nobody vouches for it.
func TestLoadSaysWhoCanWrite(t *testing.T) {
	t.Parallel()
	const warning, ofLibraries = "nobody vouches for what is loaded", "containers mount them from the share"
	for name, tt := range map[string]struct {
		stage  func(m *machine) error
		change func(*LoadOptions)
		says   string // "" is nothing
	}{
		"root's":                      {func(*machine) error { return nil }, nil, ""},
		"a share that anybody writes": {func(m *machine) error { return os.Chmod(m.share, 0o777) }, nil, "can be written by everybody"},
		"a group's":                   {func(m *machine) error { return chmodFor(m.published(""), 0o775, group()) }, nil, fmt.Sprintf("can be written by group %d", group())},
		"below somebody's folder on the host": {func(m *machine) error {
			above := m.host + filepath.Dir(m.share)
			return errors.Join(os.MkdirAll(m.host+m.share, 0o755), os.Chmod(above, 0o777))
		}, nil, "can be written by everybody"},
		"a file of somebody's": {func(m *machine) error { return os.Chmod(m.published("nvidia.ko"), 0o666) }, nil, "nvidia.ko can be written by everybody"},
		"signed":               {func(m *machine) error { return os.Chmod(m.share, 0o777) }, trusting(trusted), ""},
		"asked only":           {func(m *machine) error { return os.Chmod(m.share, 0o777) }, func(o *LoadOptions) { o.Check = true }, ""},
	} {
		m := newMachine(t)
		m.sign(t, keys+"rsa")
		m.withRun(t)
		if err := tt.stage(m); err != nil {
			t.Fatal(err)
		}
		if tt.change != nil && name == "asked only" {
			m.loadRefused(t, tt.change)
		} else {
			m.load(t, tt.change)
		}
		said := m.log.String()
		if n := strings.Count(said, warning); (n == 1) != (tt.says != "") || n > 1 || !strings.Contains(said, tt.says) {
			t.Errorf("%s: %d warnings, want %q\n%s", name, n, tt.says, said)
		}
		if got := strings.Contains(said, ofLibraries); got != (name == "signed") {
			t.Errorf("%s: of the libraries it is said: %t\n%s", name, got, said)
		}
	}
}

// TestLoadOfWhatWasLetPass: checks that failed at the build count where it is known who
// let them pass, and where nobody is asked for.
func TestLoadOfWhatWasLetPass(t *testing.T) {
	t.Parallel()
	for _, signed := range []bool{true, false} {
		for _, change := range []func(*LoadOptions){nil, trusting(trusted)} {
			m := newMachine(t)
			m.withRun(t)
			write(t, filepath.Join(m.host, "boot/config-"+testRelease), strings.Replace(testConfig, "CONFIG_SMP=y\n", "", 1))
			m.rewrite(t, func(manifest *modules.Manifest) { manifest.Overridden = []string{"vermagic"} })
			if signed {
				m.sign(t, keys+"rsa")
			}
			if change != nil && !signed {
				if names, said := m.loadRefused(t, change); !slices.Equal(names, []string{"untrusted"}) {
					t.Errorf("%q\n%s", names, said)
				}
				m.called(t)
				continue
			}
			if got := m.load(t, change); got.State != Loaded {
				t.Errorf("%+v", got)
			}
		}
	}
}

// group is one that is not root's and that this test may give files to.
func group() int {
	if os.Geteuid() != 0 {
		return os.Getgid()
	}
	return 1000
}

// chmodFor gives a folder to a group, with a mode.
func chmodFor(dir string, mode os.FileMode, gid int) error {
	real, err := filepath.EvalSymlinks(dir)
	if err != nil {
		return err
	}
	if err := os.Chown(real, -1, gid); err != nil {
		return err
	}
	return os.Chmod(real, mode)
}
