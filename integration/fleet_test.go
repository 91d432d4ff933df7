//go:build integration

package integration

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/matrix"
	"github.com/k8sp/cuda/pkg/modules"
)

var needRegistry = shared.Image(lab.RegistryImage, (*lab.Lab).MakeRegistryImage)

// repository is where a registry has what is pushed, in its own network, of which there is
// nothing but loopback.
const repository = "127.0.0.1:5000/fleet/cuda"

// Who may push and pull, by a password that nobody is to find in a log: htpasswd is of it,
// by bcrypt.
const (
	user     = "fleet"
	password = "correct horse"
	htpasswd = user + ":$2a$10$gi51QE0BIpwgKlccSgvDjuwcB16wGAvHOJCMWfhNLjTkWSBbSXiR6\n"
)

// startRegistry runs a registry as Debian sets it up, which wants to know who asks, and
// returns the name of its container. Options are further ones of docker run.
func startRegistry(t *testing.T, options ...string) string {
	t.Helper()
	name := lab.ContainerName("registry")
	users := filepath.Join(t.TempDir(), "htpasswd")
	if err := os.WriteFile(users, []byte(htpasswd), 0o644); err != nil {
		t.Fatal(err)
	}
	// Another registry in the place of Debian's, with the same configuration.
	if program := os.Getenv("FLEET_REGISTRY"); program != "" {
		options = append(options, "-v", program+":/usr/bin/docker-registry:ro")
	}
	args := append([]string{"run", "--detach", "--network", "none", "--name", name, "-v", users + ":/etc/docker/registry/htpasswd:ro"}, options...)
	docker(t, append(args, needRegistry(t), "docker-registry", "serve", "/etc/docker/registry/config.yml")...)
	t.Cleanup(func() {
		if t.Failed() {
			out, _ := exec.Command("docker", "logs", name).CombinedOutput()
			t.Logf("the registry said:\n%s", out)
		}
		_ = exec.Command("docker", "rm", "--force", "--volumes", name).Run()
	})
	for { // as long as the test may take
		if exec.Command("docker", "exec", name, "bash", "-c", "</dev/tcp/127.0.0.1/5000").Run() == nil {
			return name
		}
		if docker(t, "inspect", "--format", "{{.State.Running}}", name) != "true" {
			t.Fatal("the registry has ended")
		}
		select {
		case <-t.Context().Done():
			t.Fatal(t.Context().Err())
		case <-time.After(100 * time.Millisecond):
		}
	}
}

// TestFleet has what one host has built come to another by a real registry: that host has no
// driver package, no source and no network beside the registry.
func TestFleet(t *testing.T) {
	c := needDemo(t)
	m := c.manifest(t)
	registry := startRegistry(t)
	secret := base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
	config := t.TempDir()
	if err := os.WriteFile(filepath.Join(config, "config.json"), []byte(`{"auths": {"127.0.0.1:5000": {"auth": "`+secret+`"}}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	stranger := func(registry, share string, args ...string) lab.Builder {
		b := offline(t, append(args, "--debug")...)
		b.Share, b.HostRoot, b.Network = share, needHost(t).Dir, "container:"+registry
		return b
	}
	with := func(docker []string, registry, share string, args ...string) outcome {
		b := stranger(registry, share, args...)
		b.Docker = append(docker, "-v", config+":/root/.docker:ro")
		o := run(t, b)
		for _, secret := range []string{password, secret, keyPassword} {
			if strings.Contains(o.stderr, secret) {
				t.Errorf("the log has %q:\n%s", secret, o.stderr)
			}
		}
		return o
	}
	at := func(registry, share string, args ...string) outcome { return with(nil, registry, share, args...) }
	if o := run(t, stranger(registry, c.dir, "push", repository)); o.code != 16 || !strings.Contains(o.stderr, "401") || !strings.Contains(o.stderr, "docker login") {
		t.Errorf("a stranger: exit code %d\n%s", o.code, o.stderr)
	}
	pushed := at(registry, c.dir, "push", repository)
	if pushed.code != 0 || strings.Count(pushed.stdout, repository+":"+m.Driver.Version+"-") != 1 {
		t.Fatalf("exit code %d\n%s%s", pushed.code, pushed.stdout, pushed.stderr)
	}
	if again := at(registry, c.dir, "push", repository); again.stdout != pushed.stdout {
		t.Errorf("the same result is another artefact: %s, and then %s%s", pushed.stdout, again.stdout, again.stderr)
	}

	share := t.TempDir()
	if err := os.Chmod(share, 0o755); err != nil {
		t.Fatal(err)
	}
	pulled := at(registry, share, "--registry", repository, "--driver-version", m.Driver.Version, "--module-type", m.Driver.ModuleType)
	if pulled.code != 0 || !strings.Contains(pulled.stderr, "what was built elsewhere serves") {
		t.Fatalf("exit code %d\n%s", pulled.code, pulled.stderr)
	}
	for _, stage := range []string{"driver", "source", "prepare", "build"} {
		if strings.Contains(pulled.stderr, `"stage":"`+stage+`"`) {
			t.Errorf("it came to the stage %s:\n%s", stage, pulled.stderr)
		}
	}
	wantsSame(t, c.dir, share, m)
	inside := lab.Builder{}.Mounted() + "/modules/" + m.Target.Release + "/" + m.Driver.Version
	if verified := at(registry, share, "verify", inside); verified.code != 0 {
		t.Errorf("exit code %d\n%s%s", verified.code, verified.stdout, verified.stderr)
	}

	t.Run("signed", func(t *testing.T) {
		keys := t.TempDir()
		signed(t, registry, config, keys, func(args ...string) outcome {
			dir := share
			if args[0] == "pull" {
				dir = t.TempDir()
				if err := os.Chmod(dir, 0o755); err != nil {
					t.Fatal(err)
				}
				args = append(args, "--driver-version", m.Driver.Version, "--module-type", m.Driver.ModuleType)
			}
			return with([]string{"-v", keys + ":/keys:ro", "-e", "COSIGN_PASSWORD=" + keyPassword}, registry, dir, args...)
		})
	})

	t.Run("in a table", func(t *testing.T) {
		debian, err := shared.Lab(t).Debian(t.Context(), "trixie")
		if err != nil {
			t.Fatal(err)
		}
		dir := t.TempDir()
		if err := errors.Join(os.Chmod(dir, 0o755), os.WriteFile(filepath.Join(dir, "matrix.yaml"), fmt.Appendf(nil,
			"kernels: [{name: coreos, host-root: /host}, {name: debian, host-root: /debian}]\ndrivers: [{driver-version: %s, module-type: %s}, 570.86.15]\n", m.Driver.Version, m.Driver.ModuleType), 0o644)); err != nil {
			t.Fatal(err)
		}
		o := with([]string{"-v", debian.Dir + ":/debian:ro"}, registry, dir, "matrix", lab.Builder{}.Mounted()+"/matrix.yaml", "--registry", repository, "--html", lab.Builder{}.Mounted()+"/matrix.html", "--output", "json")
		var table matrix.Table
		if err := json.Unmarshal([]byte(o.stdout), &table); err != nil || o.code != 11 || len(table.Cells) != 4 {
			t.Fatalf("exit code %d: %v\n%s%s", o.code, err, o.stdout, o.stderr)
		}
		// One that was pushed; one that nobody has for the other kernel; and a break that is
		// known of both, for which nobody need be asked.
		got := []matrix.Verdict{table.Cells[0].Verdict, table.Cells[1].Verdict, table.Cells[2].Verdict, table.Cells[3].Verdict}
		if diff := cmp.Diff([]matrix.Verdict{matrix.KnownBreak, matrix.Failed, matrix.KnownBreak}, got[1:]); diff != "" ||
			!slices.Contains([]matrix.Verdict{matrix.Built, matrix.Proven}, got[0]) || !table.Cells[0].Reused ||
			!strings.Contains(table.Cells[1].Says, "pci_resize_resource") || !strings.Contains(table.Cells[3].Says, "pci_resize_resource") {
			t.Errorf("%s\n%s", diff, o.stdout)
		}
		if page, err := os.ReadFile(filepath.Join(dir, "matrix.html")); err != nil || !bytes.Contains(page, []byte(`<td class="known-break">`)) {
			t.Errorf("%v\n%s", err, page)
		}
	})

	t.Run("over a slow network that breaks off", func(t *testing.T) {
		// Each connection brings a sixth of the whole.
		network, err := shared.Lab(t).SlowNetwork(t.Context(), registry, "127.0.0.1:5000", 40e6, 16e6)
		if err != nil {
			t.Fatal(err)
		}
		defer network.Close()
		slow := strings.TrimPrefix(network.URL, "http://")
		auths := fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, slow, secret)
		config, dir := t.TempDir(), t.TempDir()
		if err := errors.Join(os.WriteFile(filepath.Join(config, "config.json"), []byte(auths), 0o600), os.Chmod(dir, 0o755)); err != nil {
			t.Fatal(err)
		}
		b := stranger(registry, dir, "pull", slow+"/fleet/cuda", "--driver-version", m.Driver.Version, "--module-type", m.Driver.ModuleType)
		b.Docker = append(b.Docker, "-v", config+":/root/.docker:ro")
		o := run(t, b)
		if o.code != 0 {
			t.Fatalf("exit code %d\n%s", o.code, o.stderr)
		}
		if n := strings.Count(o.stderr, "the download broke off; trying again"); n < 4 {
			t.Errorf("it broke off %d times:\n%s", n, o.stderr)
		}
		wantsSame(t, c.dir, dir, m)
	})

	// What a registry has on its disk may be altered: the largest of its blobs, which has the
	// driver's libraries or its firmware.
	docker(t, "exec", registry, "bash", "-euc", `cd /var/lib/docker-registry
blob=$(find . -path '*/blobs/*' -name data -printf '%s %p\n' | sort -n | tail -1 | cut -d' ' -f2)
printf altered | dd of="$blob" bs=1 seek=100000 conv=notrunc status=none`)
	lied := t.TempDir()
	if o := at(registry, lied, "pull", repository, "--driver-version", m.Driver.Version, "--module-type", m.Driver.ModuleType); o.code != 16 {
		t.Errorf("a registry that lies: exit code %d\n%s", o.code, o.stderr)
	}
	if _, err := os.Lstat(filepath.Join(lied, "modules", m.Target.Release, m.Driver.Version)); err == nil {
		t.Error("what a registry has altered is published")
	}

	full := startRegistry(t, "--tmpfs", "/var/lib/docker-registry:size=8m")
	if o := at(full, c.dir, "push", repository); o.code != 16 || !strings.Contains(o.stderr, "cannot be pushed") {
		t.Errorf("a full registry: exit code %d\n%s", o.code, o.stderr)
	}
	if o := at(full, t.TempDir(), "pull", repository, "--driver-version", m.Driver.Version); o.code != 16 || !strings.Contains(o.stderr, "there is no such artefact") {
		t.Errorf("nothing of it is there: exit code %d\n%s", o.code, o.stderr)
	}
}

// wantsSame holds what was pulled into a share against what was built in another.
func wantsSame(t *testing.T, built, pulled string, m modules.Manifest) {
	t.Helper()
	for _, dir := range []string{filepath.Join("modules", m.Target.Release, m.Driver.Version), filepath.Join("driver", m.Driver.Version)} {
		out, err := exec.Command("diff", "--recursive", "--no-dereference", filepath.Join(built, dir)+"/", filepath.Join(pulled, dir)+"/").CombinedOutput()
		if err != nil {
			t.Errorf("what was pulled differs: %v\n%s", err, out)
		}
	}
}

// keyPassword is that of the keys that cosign makes.
const keyPassword = "battery staple"

// signed has builder sign an artefact with a key of cosign's, and cosign itself verify it
// and its provenance; and cosign sign it with another key, which builder tells apart.
func signed(t *testing.T, registry, config, keys string, builder func(args ...string) outcome) {
	cosign := func(args ...string) (string, error) {
		argv := append([]string{"run", "--rm", "--network", "container:" + registry, "-e", "COSIGN_PASSWORD=" + keyPassword,
			"-v", keys + ":/keys", "-v", config + ":/docker:ro", "-e", "DOCKER_CONFIG=/docker", "-w", "/keys", "--entrypoint", "cosign", needRegistry(t)}, args...)
		out, err := exec.CommandContext(t.Context(), "docker", argv...).CombinedOutput()
		return string(out), err
	}
	must := func(args ...string) string {
		t.Helper()
		out, err := cosign(args...)
		if err != nil {
			t.Fatalf("cosign %s: %v\n%s", strings.Join(args, " "), err, out)
		}
		return out
	}
	for _, name := range []string{"ours", "theirs"} {
		must("generate-key-pair", "--output-key-prefix", name)
	}
	docker(t, "run", "--rm", "-v", keys+":/keys", "--entrypoint", "chmod", needRegistry(t), "-R", "a+rX", "/keys")
	pushed := builder("push", repository, "--sign-manifest", "/keys/ours.key")
	if pushed.code != 0 || !strings.Contains(pushed.stderr, "artefact signed") {
		t.Fatalf("exit code %d\n%s", pushed.code, pushed.stderr)
	}
	tag, digest, _ := strings.Cut(strings.TrimSpace(pushed.stdout), "@")
	verify := func(key string, args ...string) []string {
		return append(args, "--key", "/keys/"+key+".pub", "--insecure-ignore-tlog=true", "--allow-http-registry=true", tag)
	}
	if out := must(verify("ours", "verify")...); !strings.Contains(out, digest) {
		t.Errorf("cosign verified something else:\n%s", out)
	}
	if out := must(verify("ours", "verify-attestation", "--type", "slsaprovenance1")...); !strings.Contains(out, "payload") {
		t.Errorf("cosign verified no provenance:\n%s", out)
	}
	for _, command := range [][]string{{"verify"}, {"verify-attestation", "--type", "slsaprovenance1"}} {
		if out, err := cosign(verify("theirs", command...)...); err == nil {
			t.Errorf("cosign takes %s by another key:\n%s", command[0], out)
		}
	}
	if o := builder("pull", repository, "--trust", "/keys/theirs.pub"); o.code != 15 || !strings.Contains(o.stderr, "is not signed by who is trusted") {
		t.Errorf("by another key: exit code %d\n%s", o.code, o.stderr)
	}
	must("sign", "--key", "/keys/theirs.key", "--tlog-upload=false", "--allow-http-registry=true", "--yes", tag+"@"+digest)
	// As a whole it is theirs now, too. Its provenance is not, nor is what is in it.
	if o := builder("pull", repository, "--trust", "/keys/theirs.pub"); o.code != 15 {
		t.Errorf("exit code %d\n%s", o.code, o.stderr)
	}
	if o := builder("pull", repository, "--trust", "/keys/ours.pub"); o.code != 15 || !strings.Contains(o.stderr, "its signature and its provenance are by who is trusted") || !strings.Contains(o.stderr, "there is no manifest.json.p7s beside it") {
		t.Errorf("its manifest is not signed: exit code %d\n%s", o.code, o.stderr)
	}
}
