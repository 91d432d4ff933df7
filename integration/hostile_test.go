//go:build integration

package integration

import (
	"fmt"
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// The words that a hostile installer must not come by.
const (
	secretToken  = "word-of-the-environment"
	secretKey    = "word-of-the-signing-key"
	secretShadow = "word-of-the-hosts-shadow"
	secretOpen   = "word-of-a-host-file-that-all-may-read"
	secretShare  = "word-of-the-share"
	secretSocket = "word-of-the-hosts-socket"
)

// attack is what a hostile installer does instead of building: it looks for all
// that root of the container has, and leaves in its log what it finds. Each line
// begins with what was tried.
const attack = `
for arg; do case "$arg" in --log-file-name=*) log=${arg#*=};; esac; done
exec >"$log" 2>&1
echo "effective user $(id -u), real $(sed -n 's/^Uid:[[:space:]]*\([0-9]*\).*/\1/p' /proc/self/status), capabilities $(sed -n 's/^CapEff:[[:space:]]*//p' /proc/self/status), bounding $(sed -n 's/^CapBnd:[[:space:]]*//p' /proc/self/status)"
for p in /proc/[0-9]*; do echo "environment $(tr '\0' ' ' <$p/environ)"; echo "command $(tr '\0' ' ' <$p/cmdline)"; done
env
echo "key $(cat /keys/signing.pem)"
echo "shadow $(cat /host/etc/shadow)"
echo "open $(cat /host/etc/open)"
echo "root $(cat /proc/1/root/host/etc/open)"
echo "share $(cat /opt/share/notes)"
echo "listing $(ls /host /keys)"
python3 - <<'PYTHON'
import os, socket, ctypes
def try_(what, do):
    try:
        print(what, "done", do() or "")
    except OSError as e:
        print(what, e)
def unix():
    s = socket.socket(socket.AF_UNIX); s.connect("/host/run/docker.sock"); return s.recv(100)
def tcp():
    s = socket.socket(); s.connect(("127.0.0.1", PORT)); return s.recv(100)
try_("socket:", unix)
try_("network:", tcp)
libc = ctypes.CDLL(None, use_errno=True)
def call(f, *a):
    if f(*a) != 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
try_("mount:", lambda: call(libc.mount, b"tmpfs", b"/tmp", b"tmpfs", 0, None))
try_("namespace:", lambda: call(libc.unshare, 0x10000000))
try_("ptrace:", lambda: call(libc.ptrace, 16, 1, 0, 0))
try_("kill:", lambda: os.kill(int(os.environ.get("VICTIM", "1")), 28))
PYTHON
for file in /opt/share/planted /opt/share/modules/planted /opt/share/cuda/planted /opt/share/linux/planted /usr/bin/planted /etc/planted /host/planted; do
    echo planted >$file && echo "wrote $file"
done
mknod /dev/disk b 8 0; ls /dev/disk && echo "wrote a device"
ln -s /keys/signing.pem "$(dirname "$log")/modules/nvidia.ko"
ln -sf /host/etc/shadow "$(dirname "$log")/modules/nvidia-uvm.ko"
echo ERROR: all was tried
exit 1
`

// TestHostileInstaller has a driver package whose installer attacks: whatever the
// container has, it comes by nothing that it was not given, and what it leaves
// behind leads nobody astray. With CAP_SYS_ADMIN it has a world of its own.
func TestHostileInstaller(t *testing.T) {
	const version = "1.2.3"
	for _, tt := range []struct {
		name     string
		docker   []string
		isolated bool
	}{
		{"no capability more", nil, false},
		{"CAP_SYS_ADMIN", []string{"--cap-add", "SYS_ADMIN"}, true},
		{"no seccomp of the container's", []string{"--security-opt", "seccomp=unconfined"}, true},
	} {
		t.Run(tt.name, func(t *testing.T) {
			share, host, keys := usedShare(t), filepath.Join(t.TempDir(), "host"), t.TempDir()
			if err := os.CopyFS(host, os.DirFS(needHost(t).Dir)); err != nil {
				t.Fatal(err)
			}
			write(t, filepath.Join(host, "etc/open"), []byte(secretOpen))
			write(t, filepath.Join(share, "notes"), []byte(secretShare))
			for path, word := range map[string]string{filepath.Join(host, "etc/shadow"): secretShadow, filepath.Join(keys, "signing.pem"): secretKey} {
				write(t, path, []byte(word))
				if err := os.Chmod(path, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			if err := os.MkdirAll(filepath.Join(host, "run"), 0o755); err != nil {
				t.Fatal(err)
			}
			speak(t, "unix", filepath.Join(host, "run/docker.sock"))
			port := speak(t, "tcp", "127.0.0.1:0").(*net.TCPAddr).Port
			installer(t, secondDriver(t, share, version), strings.Replace(attack, "PORT", fmt.Sprint(port), 1))

			before := results(t, share)
			b := online(t, "--driver-version="+version)
			b.Share, b.HostRoot = share, host
			b.Environ = append(b.Environ, "BUILDER_GITHUB_TOKEN="+secretToken)
			b.Docker = append(slices.Clone(tt.docker), "-v", keys+":/keys:ro")
			o := run(t, b)
			if o.code != 14 || !strings.Contains(lastLine(o.stderr), "all was tried") {
				t.Errorf("exit code %d, want 14 by the installer: %s", o.code, lastLine(o.stderr))
			}
			logs, err := filepath.Glob(filepath.Join(share, ".builder/logs/nvidia-installer-*"+version+".log"))
			if err != nil || len(logs) != 1 {
				t.Fatalf("logs %q: %v", logs, err)
			}
			text, err := os.ReadFile(logs[0])
			if err != nil {
				t.Fatal(err)
			}
			said := string(text)
			for _, secret := range []string{secretToken, secretKey, secretShadow, secretOpen, secretShare, secretSocket} {
				if strings.Contains(said, secret) || strings.Contains(o.stderr, secret) {
					t.Errorf("the installer came by the %s", secret)
				}
			}
			for _, bad := range []string{"wrote ", "socket: done", "network: done", "mount: done", "namespace: done", "ptrace: done"} {
				if strings.Contains(said, bad) {
					t.Errorf("it could: %s", bad)
				}
			}
			for _, want := range []string{"effective user 0, ", "capabilities 0000000000000000, bounding 0000000000000000", "ERROR: all was tried"} {
				if !strings.Contains(said, want) {
					t.Errorf("its log does not say %q", want)
				}
			}
			if isolated := !strings.Contains(o.stderr, "is not held back wholly"); isolated != tt.isolated {
				t.Errorf("builder says that it is isolated: %v, want %v", isolated, tt.isolated)
			}
			if t.Failed() {
				t.Log(said)
			}
			if after := results(t, share); after != before {
				t.Error("results changed")
			}
		})
	}
}

// speak listens, and tells whoever connects a secret.
func speak(t *testing.T, network, address string) net.Addr {
	t.Helper()
	l, err := net.Listen(network, address)
	if err != nil {
		t.Fatal(err)
	}
	if network == "unix" {
		if err := os.Chmod(address, 0o777); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { l.Close() })
	go func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			_, _ = c.Write([]byte(secretSocket))
			c.Close()
		}
	}()
	return l.Addr()
}
