package share

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/k8sp/cuda/internal/atomicfile"
	"github.com/k8sp/cuda/internal/beneath"
)

// Pull is how the last pull from a registry into a share went that brought something. It is for
// whoever watches a fleet: nothing goes by it, as whoever owns the share can have written it.
type Pull struct {
	// Driver and Release are what was pulled for which kernel.
	Driver  string `json:"driver"`
	Release string `json:"release"`
	// Seconds is how long it took, and At when it ended.
	Seconds float64   `json:"seconds"`
	At      time.Time `json:"at"`
}

// longestPull is far above what any takes.
const longestPull = 7 * 24 * time.Hour

// maxPull is above what a record of one has.
const maxPull = 4 << 10

// NotePull writes a pull down, for the holder of the share's lock.
func (s *Share) NotePull(p Pull) error {
	text, err := json.Marshal(p)
	if err != nil {
		return err
	}
	if err := atomicfile.Sweep(s.pullFile()); err != nil {
		return err
	}
	return atomicfile.WriteFile(s.pullFile(), append(text, '\n'), 0o644)
}

// LastPull is the one that was written down last; an error that is [fs.ErrNotExist] is that
// there was none.
func (s *Share) LastPull() (p Pull, err error) {
	file, err := beneath.Open(s.pullFile())
	if err != nil {
		return Pull{}, err
	}
	defer file.Close()
	text, err := io.ReadAll(io.LimitReader(file, maxPull))
	if err == nil {
		err = json.Unmarshal(text, &p)
	}
	switch {
	case err != nil:
		return Pull{}, fmt.Errorf("%s is no record of a pull: %w", s.pullFile(), err)
	case p.Seconds < 0 || p.Seconds > longestPull.Seconds() || p.At.After(time.Now().Add(longestPull)):
		return Pull{}, errors.New(s.pullFile() + " has times that no pull took")
	}
	return p, nil
}
