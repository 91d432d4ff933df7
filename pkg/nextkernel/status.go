package nextkernel

import (
	"encoding/json"
	"errors"
	"fmt"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/stage"
)

// State is how far the driver for the next kernel is.
type State string

// The states of a host's next kernel.
const (
	// None is that no update is staged: the next boot brings what runs.
	None State = "none"
	// Working is that it is looked for, or built.
	Working State = "working"
	// Ready is that the share has a driver that is proven to fit, or that the staged
	// system is the one that runs.
	Ready State = "ready"
	// Failed is that there is none so far; it is tried again.
	Failed State = "failed"
	// Unknown is that nobody has looked.
	Unknown State = "unknown"
)

// Status is what is known of a host's next kernel.
type Status struct {
	State State `json:"state"`
	// Boot identifies the boot of the host that this is said in
	// (/proc/sys/kernel/random/boot_id), and Update the staging that it is of.
	Boot   string `json:"boot,omitempty"`
	Update string `json:"update,omitempty"`
	// Slot, Release and Version are of what the next boot brings: "b", its kernel's
	// release, and the system's version.
	Slot    string `json:"slot,omitempty"`
	Release string `json:"release,omitempty"`
	Version string `json:"version,omitempty"`
	// Driver is the version that is proven, and Manifest is of its modules.
	Driver   string `json:"driver,omitempty"`
	Manifest string `json:"manifest,omitempty"`
	// Says is all that in a sentence, and Next what to do where it failed; Stage and Kind
	// tell the failure from others.
	Says  string     `json:"says"`
	Next  string     `json:"next,omitempty"`
	Stage stage.Name `json:"stage,omitempty"`
	Kind  string     `json:"kind,omitempty"`
}

// write leaves the status in a file, for others on the host; "" is none.
func (s Status) write(file string) error {
	if file == "" {
		return nil
	}
	text, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	return atomicfile.WriteFile(file, append(text, '\n'), 0o644)
}

// failed is a status with an error in it.
func (s Status) failed(err error) Status {
	s.State, s.Says = Failed, err.Error()
	var failure *stage.Error
	if errors.As(err, &failure) {
		s.Says, s.Next, s.Stage, s.Kind = failure.Sentence(), failure.Hint, failure.Stage, failure.Kind
	}
	return s
}

// ready is a status of a driver that is proven.
func (s Status) ready(r job.Result) Status {
	s.State, s.Driver, s.Manifest = Ready, r.Driver, r.Manifest
	s.Says = fmt.Sprintf("driver %s (%s) is there for kernel %s, which the next boot brings, and is proven to fit it", r.Driver, r.ModuleType, r.Release)
	return s
}
