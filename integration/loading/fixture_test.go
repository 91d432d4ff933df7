//go:build integration

package loading

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/integration/lab/shared"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/cuda/fabric"
	"github.com/k8sp/cuda/pkg/cuda/userspace"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/share"
)

// What tests share. Nothing of it is made in the image under test unless the
// cache lacks it.
var (
	needTrixie   = shared.Debian("trixie")
	needImage    = shared.Image(lab.CUDAImage, (*lab.Lab).MakeCUDAImage)
	needSystemd  = shared.Image(lab.SystemdImage, (*lab.Lab).MakeSystemdImage)
	needStandins = shared.Thing((*lab.Lab).Standins)
	needBuilder  = shared.Thing((*lab.Lab).Program)
	needBench    = shared.Thing(makeBench)
)

func TestMain(m *testing.M) { shared.Main(m) }

// The versions of the stand-ins, and one of which there is no firmware.
const (
	older, newer = "990.10", "990.20"
	bare         = "990.5"
)

// bench is what every machine has.
type bench struct {
	lab     *lab.Lab
	host    lab.Host
	machine lab.Machine // what all are made from
	dir     string
}

func makeBench(l *lab.Lab, ctx context.Context) (*bench, error) {
	b := &bench{lab: l}
	var err error
	if b.host, err = l.CoreOS(ctx); err != nil {
		return nil, err
	}
	b.machine.Kernel = b.host.Image()
	standins, err := l.Standins(ctx)
	if err != nil {
		return nil, err
	}
	if b.dir, err = os.MkdirTemp("", "k8sp-cuda-loading-"); err != nil {
		return nil, err
	}
	shared.AtEnd(func() { os.RemoveAll(b.dir) })
	manager, err := l.FabricManager(ctx)
	if err != nil {
		return nil, err
	}
	if err := b.publishUserSpace(ctx, manager); err != nil {
		return nil, err
	}
	for version, from := range map[string]string{older: older, newer: newer, bare: older} {
		// What has no firmware is in a share of its own.
		if err := b.publish(ctx, "share-"+version, version, filepath.Join(standins, from)); err != nil {
			return nil, err
		}
	}
	program, err := l.Program(ctx)
	if err != nil {
		return nil, err
	}
	b.machine.Files["/builder"] = program
	for _, name := range []string{"standin_pci", "nouveau"} {
		b.machine.Files["/standin/"+name+".ko"] = filepath.Join(standins, older, name+".ko")
	}
	return b, b.machine.Folder("/lib/modules", filepath.Join(b.host.Dir, "lib/modules"))
}

// publishUserSpace leaves what is beside the newer stand-ins in a share of its own: a
// library, and a fabric manager.
func (b *bench) publishUserSpace(ctx context.Context, manager string) error {
	top := filepath.Join(b.dir, "user-space")
	scratch, folder := filepath.Join(top, "scratch"), filepath.Join(top, "NVIDIA-Linux-x86_64-"+newer)
	library, text := "libcuda.so."+newer, filepath.Join(top, "text")
	// A program that does nothing but need the C library, as nvidia-smi does.
	base, err := b.lab.DebianImage(ctx, "trixie")
	if err != nil {
		return err
	}
	program, err := exec.CommandContext(ctx, "docker", "run", "--rm", "--network", "none", base, "cat", "/usr/bin/true").Output()
	if err != nil {
		return err
	}
	err = errors.Join(os.MkdirAll(scratch, 0o755), os.Mkdir(folder, 0o755), os.WriteFile(text, []byte("DAEMONIZE=1\nLOG_FILE_NAME=/var/log/fabricmanager.log\n"), 0o644))
	for name, text := range map[string]string{
		"nvidia-smi": string(program),
		".manifest":  "NVIDIA Accelerated Graphics Driver for Linux-x86_64\n" + newer + "\n \nnvidia \n \n \n \n \n" + library + " 0755 CUDA_LIB NATIVE / MODULE:gpgpu\nnvidia-smi 0755 UTILITY_BINARY MODULE:nvml\n",
		library:      "a library\n", "nvidia-installer": "an installer\n",
	} {
		err = errors.Join(err, os.WriteFile(filepath.Join(folder, name), []byte(text), 0o755))
	}
	if err != nil {
		return err
	}
	s, err := share.Open(top)
	if err != nil {
		return err
	}
	pkg := cuda.Package{Path: folder, Kind: cuda.Folder, Version: newer, Arch: kernel.X86_64}
	contents, err := cuda.Inspect(ctx, pkg, filepath.Join(scratch, "inspect"))
	if err != nil {
		return err
	}
	root, err := userspace.Publish(ctx, userspace.Options{
		Share: s, Scratch: scratch, Package: pkg, Digest: "sha256:" + strings.Repeat("0", 64), Choice: userspace.Choose(ctx, contents, userspace.Compute),
		Fabric: []fabric.File{
			{From: manager, Path: fabric.Program, Mode: 0o755}, {From: text, Path: fabric.Config, Mode: 0o644}, {From: text, Path: fabric.Topologies + "/dgxh100_topology", Mode: 0o644},
		},
		FabricDigest: "sha256:" + strings.Repeat("1", 64),
	})
	if err != nil {
		return err
	}
	published, err := filepath.EvalSymlinks(root.Dir)
	if err != nil {
		return err
	}
	return b.machine.Folder("/opt/share/driver/"+newer, published)
}

// publish leaves stand-ins in a share as a build does, and gives the share to
// the machines.
func (b *bench) publish(ctx context.Context, name, version, from string) error {
	target, err := b.target(ctx)
	if err != nil {
		return err
	}
	published, err := publish(ctx, filepath.Join(b.dir, name), version, from, target)
	if err != nil {
		return err
	}
	inside := "/opt/share"
	if version == bare {
		inside = "/bare"
	}
	return b.machine.Folder(inside+"/modules/"+b.host.Release+"/"+version, published)
}

// target is the machines' kernel, as that of a Flatcar host.
func (b *bench) target(ctx context.Context) (kernel.Target, error) {
	// As of the kernel's image alone, which does not know its modules' exports.
	target, err := kernel.Detect(ctx, nil, kernel.DetectOptions{Image: b.host.Image()})
	if err != nil {
		return kernel.Target{}, err
	}
	root, err := kernel.OpenRoot(b.host.Dir)
	if err != nil {
		return kernel.Target{}, err
	}
	target.InTree, _ = kernel.ReadDependencies(root, b.host.Release)
	target.Distribution = kernel.Distribution{ID: "flatcar", VersionID: "4593.2.5"}
	return target, nil
}

// publish leaves stand-ins for a kernel in a share, and returns their folder.
func publish(ctx context.Context, top, version, from string, target kernel.Target) (string, error) {
	scratch := filepath.Join(top, "scratch")
	if err := os.MkdirAll(scratch, 0o755); err != nil {
		return "", err
	}
	s, err := share.Open(top)
	if err != nil {
		return "", err
	}
	var paths []string
	for _, module := range []string{"nvidia", "nvidia-uvm", "nvidia-modeset", "nvidia-drm"} {
		paths = append(paths, filepath.Join(from, module+".ko"))
	}
	mods, err := modules.ReadAll(paths)
	if err != nil {
		return "", err
	}
	entries, err := modules.Entries(mods, target)
	if err != nil {
		return "", err
	}
	m := modules.Manifest{
		Target: modules.DescribeTarget(target), Modules: entries, InTree: modules.InTreeOf(entries, target),
		Driver: modules.DriverInfo{Version: version, ModuleType: "open"},
	}
	var firmware map[string]string
	if version != bare {
		file := filepath.Join(scratch, "gsp_tu10x.bin")
		if err := os.WriteFile(file, []byte("firmware of "+version+"\n"), 0o644); err != nil {
			return "", err
		}
		m.Firmware, firmware, err = modules.DescribeFirmware(map[string]string{"nvidia/" + version + "/gsp_tu10x.bin": file})
		if err != nil {
			return "", err
		}
	}
	path, err := modules.Publish(ctx, modules.PublishOptions{Share: s, Scratch: scratch, Dir: from, Firmware: firmware, Exports: target.Exports, Manifest: m})
	if err != nil {
		return "", err
	}
	return filepath.EvalSymlinks(filepath.Dir(path))
}

// with is a machine that has small files as well, by their paths there.
func (b *bench) with(t *testing.T, texts map[string]string) lab.Machine {
	t.Helper()
	m := b.machine
	m.Files = maps.Clone(m.Files)
	for name, text := range texts {
		file := filepath.Join(t.TempDir(), "file")
		if err := os.WriteFile(file, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
		m.Files[name] = file
	}
	return m
}

// card is a step's module that puts graphics cards on the bus, by their device
// identifiers.
func card(devices ...string) []plan.Module {
	return []plan.Module{{File: "/standin/standin_pci.ko", Parameters: "device=" + strings.Join(devices, ",")}}
}

// builder is the command line of builder in a machine.
func builder(words string) []string {
	return append([]string{"/builder"}, append(strings.Fields(words), "--output=json", "--log-format=console")...)
}

// A step of a test and what is expected of it.
type step struct {
	name string
	plan.Step
	want func(t *testing.T, r plan.Result)
}

// boot has a machine go through the steps.
func (b *bench) boot(t *testing.T, m lab.Machine, steps []step) {
	t.Helper()
	var p plan.Plan
	for _, s := range steps {
		p = append(p, s.Step)
	}
	outcome, err := b.lab.Boot(t.Context(), m, p)
	if err != nil {
		t.Fatal(err)
	}
	for i, r := range outcome.Results {
		t.Run(steps[i].name, func(t *testing.T) {
			if r.Crashed {
				t.Fatalf("the kernel crashed: %q", r.Errors)
			}
			for _, l := range r.Load {
				if l.Errno != 0 {
					t.Errorf("%s: %s %q", l.File, l.Error, l.Log)
				}
			}
			steps[i].want(t, r)
			if t.Failed() && r.Ran != nil {
				t.Logf("exit code %d\n%s%s%q", r.Ran.Exit, r.Ran.Stdout, r.Ran.Stderr, r.Errors)
			}
		})
	}
}

// result decodes what a run printed, which must have ended with the exit code.
func result[T any](t *testing.T, ran *plan.Ran, exit int) T {
	t.Helper()
	var out T
	if ran == nil {
		t.Fatal("it was not run")
	}
	if ran.Exit != exit {
		t.Errorf("exit code %d, want %d", ran.Exit, exit)
	}
	if err := json.Unmarshal(ran.Stdout, &out); err != nil {
		t.Fatalf("%v: %q\n%s", err, ran.Stdout, ran.Stderr)
	}
	return out
}

// loaded expects a load to have ended well, in a state and with a driver.
func loaded(t *testing.T, r plan.Result, state, driver string) node.LoadResult {
	t.Helper()
	if len(r.Errors) > 0 {
		t.Errorf("%q", r.Errors)
	}
	out := result[node.LoadResult](t, r.Ran, 0)
	if out.State != state || out.Driver != driver {
		t.Errorf("%s %s, want %s %s", out.State, out.Driver, state, driver)
	}
	return out
}

// refused expects a run to have been refused for exactly these reasons.
func refused(want ...node.Finding) func(*testing.T, plan.Result) {
	return func(t *testing.T, r plan.Result) {
		t.Helper()
		out := result[struct{ Failures []node.Finding }](t, r.Ran, 17)
		if got, want := fmt.Sprintf("%q", out.Failures), fmt.Sprintf("%q", want); got != want {
			t.Errorf("got  %s\nwant %s", got, want)
		}
		for _, f := range want { // people read the log
			if !strings.Contains(string(r.Ran.Stderr), f.Says) || !strings.Contains(string(r.Ran.Stderr), f.Do) {
				t.Errorf("the log does not say %q and %q", f.Says, f.Do)
			}
		}
	}
}
