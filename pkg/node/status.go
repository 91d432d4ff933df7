package node

import (
	"context"
	"slices"
	"time"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// StateReady is the state of a driver that is loaded, and that programs can use.
const StateReady = "ready"

// Status is what is known of a host's driver, as the outside is told of it: by labels of the
// node, metrics and events, which have the same words for it.
type Status struct {
	// State is [StateReady], or the kind of what keeps the driver from that, and Err says
	// it in a sentence.
	State string
	Err   error
	// At is when that was found out.
	At time.Time
	// Driver is the version that the kernel has, empty where it has none, and Release the
	// kernel's.
	Driver, Release string
	// Form is that of its modules, and Findings are how many checks came to which verdict
	// when they were built. There are none of a driver that is not the share's.
	Form     string
	Findings map[string]int
	// GPUs are those on the host's bus; nil where it was not found out how they are.
	GPUs []GPU
	// Load is how long it took to load the driver, or to find it loaded.
	Load time.Duration
	// Pull is the last pull into the share; the zero Pull where none is on record.
	Pull share.Pull
	// Xids are those that the driver has said since somebody stays, nil before that, and Deaf
	// is why they cannot be heard.
	Xids map[Xid]int
	Deaf error
}

// Xid is what is counted of the driver's words: one of its numbers, of one GPU. The zero Xid
// stands for all that are too many to be counted each.
type Xid struct {
	// Address is the GPU's on the PCI bus, "0000:65:00.0".
	Address string
	Number  int
}

// Overridden is the verdict, in [Status], of a check that failed and that was let pass when the
// modules were built; the others are package modules'.
const Overridden = "overridden"

// Verdicts are all that findings may have.
func Verdicts() []string {
	return []string{string(modules.Passed), string(modules.Failed), Overridden, string(modules.NotCheckable), string(modules.NotAsked)}
}

// Expected says whether a GPU is one for the driver to bring up.
func (g GPU) Expected() bool {
	return slices.Contains([]string{GPUUp, GPUFailed, GPUUntried}, g.State)
}

// status is what is known once a load, or a check, has come to an end.
func (l *loader) status(err error) Status {
	s := Status{State: StateReady, Err: err, At: time.Now(), Driver: live.Version(l.host), Release: l.release, GPUs: l.result.GPUs}
	if err == nil && l.Stay && slices.Contains(l.result.runs, fabricManager) {
		// Whoever stays runs it next.
		s.Err = refuse([]Finding{FabricManager.Of(l.result.Fabric, l.result.Driver, "it is starting")}, nil)
	}
	if s.Err != nil {
		s.State = stage.KindOf(s.Err)
	}
	if l.result.State == Loaded || l.result.State == AlreadyLoaded {
		s.Form, s.Findings = l.found.Manifest.Driver.ModuleType, verdicts(l.found.Manifest)
	}
	s.Pull, _ = l.share.LastPull() // there is none, or none that can be read
	return s
}

// verdicts counts the findings of a manifest.
func verdicts(m modules.Manifest) map[string]int {
	count := map[string]int{}
	for _, verdict := range Verdicts() {
		count[verdict] = 0
	}
	for _, c := range m.Checks {
		verdict := string(c.Verdict)
		if c.Verdict == modules.Failed && slices.Contains(m.Overridden, c.Name) {
			verdict = Overridden
		}
		count[verdict]++
	}
	return count
}

// tell tells the outside, but for who was stopped.
func (l *loader) tell(ctx context.Context, s Status) {
	if ctx.Err() != nil {
		return
	}
	l.tellFeatures(ctx, s)
	if l.Tell != nil {
		l.Tell(ctx, s)
	}
}
