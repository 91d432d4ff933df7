package node

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/pkg/node/devices"
	"github.com/k8sp/cuda/pkg/share"
)

// Record is what builder has changed on a host since it was started, so that it
// can be undone.
type Record struct {
	// Driver is the version that was loaded; empty where no module was.
	Driver string `json:"driver"`
	// Modules and InTree are the modules that were put in, of the driver and
	// of the kernel's own, in load order.
	Modules []string `json:"modules"`
	InTree  []string `json:"in_tree"`
	// Firmware is the kernel's search path as it was set, and Before what it
	// was; both empty where it was left alone.
	Firmware string `json:"firmware"`
	Before   string `json:"before"`
	// Nodes were made in the host's /dev, which was mounted at Dev then. Those
	// in a container's own /dev are gone with it, and are not recorded.
	Dev   string         `json:"dev"`
	Nodes []devices.File `json:"nodes"`
	// CDI are the folders in which a specification was written.
	CDI []CDIFolder `json:"cdi"`
}

// CDIFolder is where a specification was written.
type CDIFolder struct {
	Dir string `json:"dir"`
	// Mounted says that it was one of the host's that a container had mounted.
	Mounted bool `json:"mounted"`
}

// Empty says whether there is nothing to undo.
func (r Record) Empty() bool {
	return len(r.Modules)+len(r.InTree)+len(r.Nodes)+len(r.CDI) == 0 && r.Firmware == ""
}

// AddNodes records device files that were made in the host's /dev, mounted at
// dev.
func (r *Record) AddNodes(dev string, made []devices.File) {
	for _, n := range made {
		r.Dev = dev
		r.DropNode(n.Path)
		r.Nodes = append(r.Nodes, n)
	}
}

// DropNode has a device file be recorded no longer.
func (r *Record) DropNode(path string) {
	r.Nodes = slices.DeleteFunc(slices.Clone(r.Nodes), func(n devices.File) bool { return n.Path == path })
}

// AddCDI records a folder with a specification.
func (r *Record) AddCDI(f CDIFolder) {
	if !slices.Contains(r.CDI, f) {
		r.CDI = append(r.CDI, f)
	}
}

// DropModule has a module, of the driver or of the kernel's own, be recorded no
// longer.
func (r *Record) DropModule(name string) {
	is := func(other string) bool { return other == name }
	r.Modules = slices.DeleteFunc(slices.Clone(r.Modules), is)
	r.InTree = slices.DeleteFunc(slices.Clone(r.InTree), is)
	if len(r.Modules) == 0 {
		r.Driver = ""
	}
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

// Write keeps the record in the share, which other hosts may have as well. One
// that has nothing to undo is removed.
func (r Record) Write(ctx context.Context, s *share.Share, boot string) error {
	name := recordFile(s, boot)
	if r.Empty() {
		if err := os.Remove(name); !errors.Is(err, fs.ErrNotExist) {
			return err
		}
		return nil
	}
	data, err := json.Marshal(r)
	if err != nil {
		return err
	}
	if err := s.MkdirAll(filepath.Dir(name)); err != nil {
		return err
	}
	if err := atomicfile.WriteFile(name, append(data, '\n'), 0o644); err != nil {
		return err
	}
	return s.Chown(ctx, name)
}
