package node

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"slices"
	"strings"
	"sync"

	"github.com/rs/zerolog"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/node/nvrm"
	"github.com/k8sp/cuda/pkg/stage"
)

// The states of a GPU.
const (
	GPUUp        = "up"         // the driver brought it up as its device file was opened
	GPUFailed    = "failed"     // it does not come up, or computes no more
	GPUUntried   = "untried"    // the driver has it, and this container may not open its device file
	GPUElsewhere = "elsewhere"  // another driver has it, for which somebody has bound it (vfio-pci)
	GPUExcluded  = "excluded"   // the driver was told not to use it (NVreg_ExcludedGpus)
	GPUNotServed = "not-served" // this driver has no use for a GPU of that kind
)

// GPU is one of the host's, and what became of it.
type GPU struct {
	// Address is where it is on the PCI bus, "0000:65:00.0", and ID what it is there,
	// "10de:2330".
	Address string `json:"address"`
	ID      string `json:"id"`
	// Model and UUID are what the driver says of it; empty where it says nothing.
	Model string `json:"model,omitempty"`
	UUID  string `json:"uuid,omitempty"`
	State string `json:"state"`
	// Says is why it is in this state, and Do what helps where it has failed.
	Says string `json:"says,omitempty"`
	Do   string `json:"do,omitempty"`
}

// String names it for people.
func (g GPU) String() string {
	if g.Model != "" {
		return fmt.Sprintf("%s (%s) at %s", g.Model, g.ID, g.Address)
	}
	return g.ID + " at " + g.Address
}

// setAside are the drivers to which people bind a GPU that is to be a virtual machine's.
var setAside = []string{"vfio-pci", "pci-stub", "pciback", "nvgrace_gpu_vfio_pci"}

// account finds out what became of each GPU on the host's bus: whether the driver has
// it, and comes up with it as its device file is opened, and what it said of it since
// it was loaded.
func (l *loader) account(ctx context.Context, plan []devices.File) error {
	known, err := devices.GPUs(l.host)
	if err != nil {
		return stage.OfKind(filesKind, err)
	}
	files := map[uint32]devices.File{}
	for _, f := range plan {
		if f.GPU {
			files[f.Minor] = f
		}
	}
	tells := len(l.host.List(devices.GPUsDir)) > 0
	gpus := make([]GPU, len(l.gpus))
	// All at once: each may take seconds, and the driver brings up what it can side by side.
	var tries sync.WaitGroup
	for i, d := range l.gpus {
		g := &gpus[i]
		g.Address, g.ID = d.Address, fmt.Sprintf("%04x:%04x", d.Vendor, d.Device)
		at := slices.IndexFunc(known, func(k devices.GPU) bool { return k.Address == d.Address })
		bound := l.access.driver(d)
		switch {
		case bound != "" && bound != live.Main:
			l.absent(g, d)
		case at >= 0:
			g.Model, g.UUID = known[at].Model, known[at].UUID
			if known[at].Excluded {
				g.State, g.Says = GPUExcluded, "the driver was told not to use it (NVreg_ExcludedGpus)"
				break
			}
			tries.Go(func() { l.try(ctx, g, files[known[at].Minor]) })
		case tells:
			l.absent(g, d)
		default:
			g.State, g.Says = GPUUntried, "the driver does not say which GPUs it has (/"+devices.GPUsDir+")"
		}
	}
	tries.Wait()
	l.result.GPUs = gpus
	// Only now: it is by the opening that the driver says most.
	l.hearDriver(ctx)
	return l.judgeGPUs(ctx)
}

// try opens a GPU's device file, by which the driver brings the GPU up.
func (l *loader) try(ctx context.Context, g *GPU, f devices.File) {
	if f.Path == "" {
		g.State, g.Says = GPUUntried, "it has no device file"
		return
	}
	opened := make(chan error, 1)
	go func() { opened <- l.files.Open(l.Dev, f) }()
	select {
	case err := <-opened:
		g.State, g.Says = openedAs(err)
	case <-ctx.Done(): // the driver may take minutes for one that does not answer
		g.State, g.Says = GPUUntried, "its device file was being opened when this was stopped"
	}
}

// openedAs is the state of a GPU by what came of opening its device file.
func openedAs(err error) (state, says string) {
	switch {
	case err == nil:
		return GPUUp, ""
	case errors.Is(err, unix.EPERM), errors.Is(err, unix.EACCES):
		return GPUUntried, "this container may not open its device file"
	case errors.Is(err, fs.ErrNotExist):
		return GPUUntried, "its device file is not there"
	}
	return GPUFailed, "its device file cannot be opened: " + errorName(err)
}

// absent is for a GPU that the driver does not have.
func (l *loader) absent(g *GPU, d kernel.PCIDevice) {
	driver, why := l.access.driver(d), ""
	if l.result.State != LeftAlone { // of somebody else's driver the form is not known
		why = cuda.Serves(l.found.Manifest.Driver.ModuleType, l.result.Driver, d)
	}
	switch {
	case slices.Contains(setAside, driver):
		g.State, g.Says = GPUElsewhere, "it is bound to "+driver
	case l.isVirtual(d):
		g.State, g.Says = GPUElsewhere, "it is a virtual function, which is for a virtual machine"
	case why != "":
		g.State, g.Says = GPUNotServed, why
	case driver == live.Main:
		// As in a container that was given some of them: its /proc shows no others.
		g.State, g.Says = GPUUntried, "the driver has it, and this container's /proc does not show it"
	case driver != "":
		g.State, g.Says, g.Do = GPUFailed, "another driver has it, "+driver, HeldDevice.Do
	case l.result.State == LeftAlone:
		g.State, g.Says = GPUUntried, "the driver, which is not the share's, has not taken it"
	default:
		g.State, g.Says = GPUFailed, "the driver has not taken it"
	}
}

// isVirtual says whether a device is a virtual function of another
// (Documentation/ABI/testing/sysfs-bus-pci, physfn).
func (l *loader) isVirtual(d kernel.PCIDevice) bool {
	return l.host.Link("sys/bus/pci/devices/"+d.Address+"/physfn") != ""
}

// hearDriver adds what the kernel's log has of the GPUs since the driver was loaded:
// of those that failed why, and of those that seemed well that they are not.
func (l *loader) hearDriver(ctx context.Context) {
	log := zerolog.Ctx(ctx)
	lines, err := live.MarkStart(l.Kernel).Since()
	if err != nil {
		log.Warn().Err(err).Msg("what the driver says of the GPUs is in the kernel's log, which cannot be read: add --cap-add SYSLOG to docker run")
	}
	messages := nvrm.Read(nvrm.SinceLoad(lines))
	for i := range l.result.GPUs {
		g := &l.result.GPUs[i]
		if g.State == GPUUntried && l.cameUp(g.Address) {
			g.State, g.Says = GPUUp, ""
		}
		is := slices.Contains([]string{GPUUp, GPUUntried, GPUFailed}, g.State)
		if why, lost := nvrm.Lost(messages, g.Address, g.State == GPUUp); is && lost {
			g.State, g.Says, g.Do = GPUFailed, why.Says, cmp.Or(g.Do, why.Do)
		}
		if g.State == GPUFailed {
			g.Do = cmp.Or(g.Do, nvrm.Unknown)
			continue
		}
		for _, m := range messages {
			if m.Address == g.Address && m.Xid != 0 {
				log.Warn().Str("gpu", g.String()).Int("xid", m.Xid).
					Str("next", cmp.Or(m.Do, "look it up in NVIDIA's catalog of Xids, https://docs.nvidia.com/deploy/xid-errors/: most are of programs, some of the GPU")).
					Msg("since the driver was loaded it said of a GPU: " + m.Says)
			}
		}
	}
}

// cameUp says whether the driver has brought a GPU up, for whoever opened it: it knows
// the version of its firmware then (nv-procfs.c, "Video BIOS", rm_init_adapter).
func (l *loader) cameUp(address string) bool {
	for line := range strings.Lines(l.host.Text(devices.GPUsDir + "/" + address + "/information")) {
		if version, is := strings.CutPrefix(line, "Video BIOS:"); is {
			return !strings.Contains(version, "??") && strings.TrimSpace(version) != ""
		}
	}
	return false
}

// judgeGPUs is the failure of more GPUs than may fail; those that may are warned of.
func (l *loader) judgeGPUs(ctx context.Context) error {
	var failed []GPU
	expected := 0
	for _, g := range l.result.GPUs {
		if g.Expected() {
			expected++
		}
		switch g.State {
		case GPUUp:
		case GPUFailed:
			failed = append(failed, g)
		case GPUUntried:
			zerolog.Ctx(ctx).Info().Str("gpu", g.String()).Str("why", g.Says).Msg("whether this GPU comes up was not tried")
		default:
			zerolog.Ctx(ctx).Info().Str("gpu", g.String()).Str("why", g.Says).Msg("this GPU is not for the driver")
		}
	}
	if len(failed) > l.AllowFailedGPUs {
		return gpusFailed(failed, expected)
	}
	for _, g := range failed {
		found := g.finding()
		zerolog.Ctx(ctx).Warn().Str("next", found.Do).Msg(found.Says)
	}
	return nil
}

// finding is a GPU that failed, as one.
func (g GPU) finding() Finding {
	found := GPUFails.Of(g.String(), g.Says)
	found.Do = g.Do
	return found
}

// gpusFailed is the error of the load stage by which GPUs do not work.
func gpusFailed(failed []GPU, of int) error {
	var says, do []string
	e := &stage.Error{Stage: stage.Load, Kind: GPUFails.Name}
	for _, g := range failed {
		found := g.finding()
		e.Findings = append(e.Findings, found)
		says = append(says, found.Says)
		if !slices.Contains(do, found.Do) {
			do = append(do, found.Do)
		}
	}
	e.Reason = strings.Join(says, "; ")
	if of > 1 {
		e.Reason = fmt.Sprintf("%d of %d GPUs do not work: %s", len(failed), of, e.Reason)
	}
	e.Hint = fmt.Sprintf("%s. The driver stays loaded; --allow-failed-gpus %d goes on without", strings.Join(do, "; "), len(failed))
	return e
}

// working are the GPUs that a container may be given: not those that failed.
func (l *loader) working(gpus []devices.GPU) []devices.GPU {
	return slices.DeleteFunc(slices.Clone(gpus), func(k devices.GPU) bool {
		return slices.ContainsFunc(l.result.GPUs, func(g GPU) bool { return g.Address == k.Address && g.State == GPUFailed })
	})
}
