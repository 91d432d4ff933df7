package main

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"

	"github.com/k8sp/cuda/integration/lab"
)

// registry is one on loopback, as Debian packages it, with a relay in front that counts.
type registry struct {
	name  string // its container
	relay *relay
}

// registryConfig has it ask nobody who he is, and keep what it has beside it.
const registryConfig = `version: 0.1
log: {level: warn}
storage: {filesystem: {rootdirectory: /var/lib/docker-registry}, delete: {enabled: true}}
http: {addr: '%s'}
`

func startRegistry(ctx context.Context, l *lab.Lab, dir string) (*registry, error) {
	if err := l.MakeRegistryImage(ctx); err != nil {
		return nil, err
	}
	free, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return nil, err
	}
	address := free.Addr().String()
	free.Close()
	config := filepath.Join(dir, "registry.yml")
	if err := os.WriteFile(config, fmt.Appendf(nil, registryConfig, address), 0o644); err != nil {
		return nil, err
	}
	r := &registry{name: lab.ContainerName("registry")}
	out, err := exec.CommandContext(ctx, "docker", "run", "--detach", "--network", "host", "--name", r.name, "-v", config+":/config.yml:ro",
		lab.RegistryImage, "docker-registry", "serve", "/config.yml").CombinedOutput()
	if err != nil {
		return nil, fmt.Errorf("docker run: %w\n%s", err, out)
	}
	for { // as long as the run may take
		if c, err := net.Dial("tcp", address); err == nil {
			c.Close()
			break
		}
		select {
		case <-ctx.Done():
			r.close()
			return nil, ctx.Err()
		case <-time.After(100 * time.Millisecond):
		}
	}
	if r.relay, err = newRelay(address); err != nil {
		r.close()
		return nil, err
	}
	return r, nil
}

// repository is a place in it.
func (r *registry) repository(name string) string {
	return r.relay.listener.Addr().String() + "/" + name
}

func (r *registry) close() {
	if r.relay != nil {
		r.relay.close()
	}
	_ = exec.Command("docker", "rm", "--force", "--volumes", r.name).Run()
}

// fleet pushes what a job has left in its share, and has a node with an empty one take
// it: all of it, and once more where another kernel has brought the libraries.
func (b *bench) fleet(ctx context.Context, share string, m measurements) error {
	repository := b.registry.repository(strings.ToLower(filepath.Base(share)))
	if _, err := b.time(ctx, b.run(share, "/usr/local/bin/builder", "push", repository)); err != nil {
		return err
	}
	node, err := os.MkdirTemp(b.dir, "node-")
	if err != nil {
		return err
	}
	pull := b.build(node)
	pull.Environ = append(pull.Environ, "BUILDER_REGISTRY="+repository, "BUILDER_DRIVER_VERSION="+b.driver.Version)
	before := b.registry.relay.bytes()
	took, err := b.time(ctx, pull)
	if err != nil {
		return err
	}
	m.add(pullTime, took.Seconds)
	m.add(pullBytes, b.registry.relay.bytes()-before)
	saved, err := b.saved(ctx, node)
	if err != nil {
		return err
	}
	m.add(savedBytes, saved)
	if err := b.empty(ctx, filepath.Join(node, "modules")); err != nil {
		return err
	}
	if took, err = b.time(ctx, pull); err != nil {
		return err
	}
	m.add(pullKernelTime, took.Seconds)
	return b.remove(ctx, node)
}

// saved is how large an image of the same files is as `docker save` and gzip have it.
func (b *bench) saved(ctx context.Context, share string) (float64, error) {
	script := fmt.Sprintf(`docker run --rm -v %s:/share:ro --entrypoint tar %s -C /share -c modules driver | docker import - %[3]s >/dev/null
docker save %[3]s | gzip | wc -c
docker rmi --force %[3]s >/dev/null`, share, b.image, lab.ContainerName("bench")+"-saved")
	out, err := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", script).Output()
	if err != nil {
		return 0, fmt.Errorf("docker save: %w", err)
	}
	return strconv.ParseFloat(string(bytes.TrimSpace(out)), 64)
}
