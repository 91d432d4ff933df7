package load

import (
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/share"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules/nodes"
)

// Record is what builder has changed on a host since it was started, so that it
// can be undone.
type Record struct {
	// Driver is the version that was loaded.
	Driver string `json:"driver"`
	// Modules and InTree are the modules that were put in, of the driver and
	// of the kernel's own, in load order.
	Modules []string `json:"modules"`
	InTree  []string `json:"in_tree"`
	// Firmware is the kernel's search path as it was set, and Before what it
	// was; both empty where it was left alone.
	Firmware string `json:"firmware"`
	Before   string `json:"before"`
	// Dev is where Nodes were made.
	Dev   string       `json:"dev"`
	Nodes []nodes.Node `json:"nodes"`
	// CDI is the folder of the specification that was written; empty where
	// there is none.
	CDI string `json:"cdi"`
}

// bootID is what the kernel calls the time since it was started.
var bootID = regexp.MustCompile(`^[0-9a-f-]{36}$`)

// Boot identifies a host since it was last started. What was loaded before that
// is gone with it.
func Boot(host *kernel.Root) (string, error) {
	id := text(host, "proc/sys/kernel/random/boot_id")
	if !bootID.MatchString(id) {
		return "", fmt.Errorf("%q in proc/sys/kernel/random/boot_id identifies no boot", id)
	}
	return id, nil
}

func recordFile(s *share.Share, boot string) string {
	return filepath.Join(s.Private(), "loaded", boot+".json")
}

// ReadRecord reads what was recorded for a boot; a zero Record where there is
// nothing.
func ReadRecord(s *share.Share, boot string) (Record, error) {
	data, err := os.ReadFile(recordFile(s, boot))
	if errors.Is(err, fs.ErrNotExist) {
		return Record{}, nil
	}
	if err != nil {
		return Record{}, err
	}
	var r Record
	if err := json.Unmarshal(data, &r); err != nil {
		return Record{}, fmt.Errorf("%s: %w", recordFile(s, boot), err)
	}
	return r, nil
}

// Write keeps the record in the share, which other hosts may have as well.
func (r Record) Write(s *share.Share, boot string) error {
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	name := recordFile(s, boot)
	if err := s.MkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	return atomicfile.WriteFile(name, append(data, '\n'), 0o644)
}

// Forget removes a record.
func Forget(s *share.Share, boot string) error {
	err := os.Remove(recordFile(s, boot))
	if errors.Is(err, fs.ErrNotExist) {
		return nil
	}
	return err
}
