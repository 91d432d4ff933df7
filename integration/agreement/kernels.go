package main

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/variants"
	"github.com/k8sp/cuda/internal/ko"
)

// kernels are those to be asked: a small one as CoreOS built its own, without
// symbol versions and with its signing key at hand, also where it wants
// signatures; the newest and 6.18, with modules that need no driver that compiles
// for them; one of arm64; and Debian's of three lines. They differ in what they look at.
func kernels(ctx context.Context, l *lab.Lab, image string) ([]Subject, error) {
	parts, err := l.Make(ctx)
	if err != nil {
		return nil, err
	}
	if err := l.BuildImage(ctx, l.Checkout, image); err != nil {
		return nil, err
	}
	server, err := l.Serve(ctx, parts.Kernel)
	if err != nil {
		return nil, err
	}
	defer server.Close()

	host, err := l.CoreOS(ctx)
	if err != nil {
		return nil, err
	}
	coreos, err := subject(ctx, l, parts.Driver, host, lab.Builder{
		Image: image, Environ: server.Environ(),
		Docker: []string{"-v", host.Image() + ":/vmlinuz:ro"},
		Args:   []string{"--kernel-image=/vmlinuz", "--github-repository=coreos/linux"},
	})
	if err != nil {
		return nil, err
	}
	coreos.Key = filepath.Join(host.Dir, "signing_key.pem")
	enforcing, locked := coreos, coreos
	enforcing.Append, enforcing.Sign = "module.sig_enforce=1", true
	enforcing.Name += ", " + enforcing.Append + ", modules signed by its key where nothing else is said"
	locked.Append, locked.About = "lockdown=integrity", "signature: "
	locked.Name += ", " + locked.Append
	list := []Subject{coreos, enforcing, locked}
	for _, line := range []string{"6.18", ""} {
		host, err := l.Newest(ctx, line)
		if err != nil {
			return nil, err
		}
		dir, err := l.Small(ctx, image, host)
		if err != nil {
			return nil, fmt.Errorf("modules for %s: %w", host.Release, err)
		}
		list = append(list, newSubject(host, dir))
	}
	arm64, err := arm64(ctx, l, server)
	if err != nil {
		return nil, err
	}
	list = append(list, arm64)
	if err := l.MakeOldImage(ctx); err != nil {
		return nil, err
	}
	for _, debian := range []struct{ suite, image string }{{"bullseye", lab.OldImage}, {"bookworm", image}, {"trixie", image}} {
		host, err := l.Debian(ctx, debian.suite)
		if err != nil {
			return nil, err
		}
		debian, err := subject(ctx, l, parts.Driver, host, lab.Builder{Image: debian.image, Environ: server.Environ(), HostRoot: host.Dir})
		if err != nil {
			return nil, err
		}
		list = append(list, debian)
	}
	return list, nil
}

func subject(ctx context.Context, l *lab.Lab, driver lab.Driver, host lab.Host, b lab.Builder) (Subject, error) {
	dir, err := l.Modules(ctx, b, driver, host)
	if err != nil {
		return Subject{}, fmt.Errorf("modules for %s: %w", host.Release, err)
	}
	return newSubject(host, dir), nil
}

// arm64 is the kernel of an arm64 host, with those of the driver's modules that compile
// quickly.
func arm64(ctx context.Context, l *lab.Lab, server *lab.Server) (Subject, error) {
	host, err := l.Arm64Host(ctx)
	if err != nil {
		return Subject{}, err
	}
	driver, err := l.Arm64Driver(ctx)
	if err != nil {
		return Subject{}, err
	}
	if err := l.MakeCrossImage(ctx); err != nil {
		return Subject{}, err
	}
	s, err := subject(ctx, l, driver, host, lab.Builder{
		Image: lab.CrossImage, Environ: server.Environ(), HostRoot: host.Dir, Args: []string{"--modules=" + variants.NVIDIA + "," + variants.Peermem},
	})
	s.Name += ", arm64"
	delete(s.Modules, variants.Modeset)
	delete(s.Modules, variants.UVM)
	return s, err
}

// newSubject is a host's kernel and the modules in a folder.
func newSubject(host lab.Host, dir string) Subject {
	s := Subject{Name: "Linux " + host.Release, Host: host, Modules: map[string]string{}}
	for _, name := range variants.Bases {
		s.Modules[name] = filepath.Join(dir, name+".ko")
	}
	return s
}

// tree is a kernel's source of a line that no package has any more.
type tree struct{ dir, config, driver string }

// kernels is the one that is built of the tree.
func (t tree) kernels(ctx context.Context, l *lab.Lab) ([]Subject, error) {
	made, err := l.Tree(ctx, t.dir, t.config)
	if err != nil {
		return nil, err
	}
	if err := l.MakeOldImage(ctx); err != nil {
		return nil, err
	}
	var driver lab.Driver
	if t.driver != "" {
		driver, err = lab.DriverIn(t.driver)
	} else {
		driver, err = l.Driver(ctx)
	}
	if err != nil {
		return nil, err
	}
	server, err := l.Serve(ctx, made.Kernel)
	if err != nil {
		return nil, err
	}
	defer server.Close()
	s, err := subject(ctx, l, driver, made.Host, lab.Builder{
		Image: lab.OldImage, Environ: server.Environ(),
		Docker: []string{"-v", made.Host.Image() + ":/vmlinuz:ro"},
		Args:   []string{"--kernel-image=/vmlinuz", "--github-repository=coreos/linux", "--driver-version=" + driver.Version},
	})
	if err != nil {
		return nil, err
	}
	s.Loader = t.dir
	nvidia, err := ko.Open(s.Modules["nvidia"])
	if err != nil {
		return nil, err
	}
	var names []string // CoreOS's kernels had the buses as modules
	for name := range strings.SplitSeq(nvidia.Value("depends"), ",") {
		if name != "" {
			names = append(names, strings.ReplaceAll(name, "-", "_"))
		}
	}
	s.First, err = s.Host.InTree(names...)
	return []Subject{s}, err
}
