package node

import (
	"context"
	"encoding/json"
	"fmt"
	"slices"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/node/devices"
)

// journal is what builder has changed on a host since it was started, in the
// order in which it did: a load that fails undoes what it has added to it, an
// unload all of it. A change is written down before it is made, so that whoever
// is killed in between leaves none that nobody would undo.
type journal struct {
	place   place
	entries []entry
}

// entry is a change, and whether it is of this run.
type entry struct {
	change
	fresh bool
}

// change is one thing that was changed on a host. Its undoing is in undo.go.
type change interface {
	// kind is what it is called where it is written down.
	kind() string
	// same says whether another change is of the same thing, and need not be
	// known beside this one.
	same(other change) bool
	// beyond is why load cannot have made the change, where it is read from a
	// record: see bounds.go. It is "" where load can.
	beyond(l *loader) string
	// undo undoes it. Its error says what is left, for people. What is no longer
	// there to be undone is none.
	undo(ctx context.Context, u *undoing) error
}

// driverModule is a module of the driver that was put in.
type driverModule struct {
	Name   string `json:"name"`
	Driver string `json:"driver"` // its version
}

// inTreeModule is a module of the kernel's own that was put in.
type inTreeModule struct {
	Name string `json:"name"`
}

// firmwarePath is the kernel's search path for firmware as it was set, and as it
// was before.
type firmwarePath struct {
	Path   string `json:"path"`
	Before string `json:"before"`
}

// deviceFile was made in the host's /dev, which was mounted at Dev then. Those in
// a container's own /dev are gone with it, and are not written down.
type deviceFile struct {
	Dev  string       `json:"dev"`
	File devices.File `json:"file"`
}

// cdiFolder is where a CDI specification was written: a folder of the host's that
// a container had mounted, or one below the share, whose Dir is relative.
type cdiFolder struct {
	Dir     string `json:"dir"`
	Mounted bool   `json:"mounted"`
}

// unknownChange is one that is not undone: this builder cannot read it, as a newer
// one may have written it, or load cannot have made it. It is kept as it was written.
type unknownChange struct {
	named string // its kind
	text  string
	why   string // for people
}

func (driverModule) kind() string    { return "module" }
func (inTreeModule) kind() string    { return "in-tree" }
func (firmwarePath) kind() string    { return "firmware" }
func (deviceFile) kind() string      { return "device-file" }
func (cdiFolder) kind() string       { return "cdi" }
func (c unknownChange) kind() string { return c.named }

func (c driverModule) same(other change) bool {
	o, ok := other.(driverModule)
	return ok && o.Name == c.Name
}
func (c inTreeModule) same(other change) bool { return other == change(c) }

// same is never so: what the path was before the first change is what it is to
// be again, and what it was before the last is where a load that fails leaves it.
func (firmwarePath) same(change) bool { return false }
func (c deviceFile) same(other change) bool {
	o, ok := other.(deviceFile)
	return ok && o.File.Path == c.File.Path
}
func (c cdiFolder) same(other change) bool     { return other == change(c) }
func (c unknownChange) same(other change) bool { return other == change(c) }

// decoders read the changes of each kind.
var decoders = map[string]func([]byte) (change, error){
	driverModule{}.kind(): decode[driverModule], inTreeModule{}.kind(): decode[inTreeModule], firmwarePath{}.kind(): decode[firmwarePath],
	deviceFile{}.kind(): decode[deviceFile], cdiFolder{}.kind(): decode[cdiFolder],
}

func decode[C change](data []byte) (change, error) {
	var c C
	err := json.Unmarshal(data, &c)
	return c, err
}

// written is a change as it is written down.
type written struct {
	Kind   string          `json:"kind"`
	Change json.RawMessage `json:"change"`
}

// encode is the changes as they are written down.
func encode(entries []entry) ([]byte, error) {
	list := make([]json.RawMessage, 0, len(entries))
	for _, e := range entries {
		list = append(list, encodeChange(e.change))
	}
	data, err := json.Marshal(list)
	return append(data, '\n'), err
}

// encodeChange is one change as it is written down.
func encodeChange(c change) json.RawMessage {
	if c, ok := c.(unknownChange); ok {
		return json.RawMessage(c.text)
	}
	data, _ := json.Marshal(c) // plain data: cannot fail
	text, _ := json.Marshal(written{c.kind(), data})
	return text
}

// parse reads what [encode] wrote.
func parse(data []byte) ([]entry, error) {
	var list []json.RawMessage
	if err := json.Unmarshal(data, &list); err != nil {
		return nil, err
	}
	var entries []entry
	for _, text := range list {
		entries = append(entries, entry{change: parseChange(text)})
	}
	return entries, nil
}

// parseChange reads one change.
func parseChange(text []byte) change {
	var w written
	if err := json.Unmarshal(text, &w); err != nil {
		return unknown("", text)
	}
	if read, ok := decoders[w.Kind]; ok {
		if c, err := read(w.Change); err == nil {
			return c
		}
	}
	return unknown(w.Kind, text)
}

func unknown(kind string, text []byte) change {
	return unknownChange{kind, string(text), fmt.Sprintf("a change of the kind %.60q is recorded, which this builder does not know: unload with the one that loaded", kind)}
}

// make makes changes that it writes down before. Of what was planned, all that do
// does not return was not made, and is forgotten.
func (j *journal) make(ctx context.Context, planned []change, do func() (made []change, err error)) error {
	before := j.entries
	if len(planned) > 0 {
		j.entries = with(before, planned)
		j.keep(ctx)
	}
	made, err := do()
	if !slices.Equal(made, planned) {
		j.entries = with(before, made)
		j.keep(ctx)
	}
	return err
}

// makeOne makes a change that it writes down before. One that was not made is
// forgotten.
func (j *journal) makeOne(ctx context.Context, c change, do func() (made bool, err error)) error {
	return j.make(ctx, []change{c}, func() ([]change, error) {
		made, err := do()
		if !made {
			return nil, err
		}
		return []change{c}, err
	})
}

// with is a journal's entries and further changes, in the place of earlier ones
// of the same things.
func with(entries []entry, changes []change) []entry {
	later := make([]entry, 0, len(changes))
	for _, c := range changes {
		later = append(later, entry{c, true})
	}
	return merge(entries, later)
}

// merge is entries and later ones, in the place of those of the same things.
func merge(entries, later []entry) []entry {
	entries = slices.Clone(entries)
	for _, e := range later {
		entries = append(slices.DeleteFunc(entries, func(old entry) bool { return e.same(old.change) }), e)
	}
	return entries
}

// forget drops changes that need no undoing any more.
func (j *journal) forget(which func(change) bool) {
	j.entries = slices.DeleteFunc(slices.Clone(j.entries), func(e entry) bool { return which(e.change) })
}

// forgetModules forgets modules that are no longer there.
func (j *journal) forgetModules(names []string) {
	j.forget(func(c change) bool {
		m, ok := c.(driverModule)
		return ok && slices.Contains(names, m.Name)
	})
}

// forgetFirmware forgets that the search path for firmware was set, where it is
// not what it was set to: somebody has set it since.
func (j *journal) forgetFirmware(now string) {
	if j.firmware() != now {
		j.forget(is[firmwarePath])
	}
}

// is says whether a change is of a kind.
func is[C change](c change) bool {
	_, ok := c.(C)
	return ok
}

// last is the last change of a kind; a zero one where there is none.
func last[C change](j *journal) (c C) {
	for _, e := range j.entries {
		if found, ok := e.change.(C); ok {
			c = found
		}
	}
	return c
}

// driver is the version of the driver that was loaded; empty where none of its
// modules was.
func (j *journal) driver() string { return last[driverModule](j).Driver }

// firmware is what the search path for firmware was set to; empty where it was
// left alone.
func (j *journal) firmware() string { return last[firmwarePath](j).Path }

// has says whether a module of the driver was put in.
func (j *journal) has(module string) bool {
	return slices.ContainsFunc(j.entries, func(e entry) bool { return driverModule{Name: module}.same(e.change) })
}

// write writes it down, durably.
func (j *journal) write() error {
	var data []byte
	if len(j.entries) > 0 {
		var err error
		if data, err = encode(j.entries); err != nil {
			return err
		}
	}
	return j.place.write(data)
}

// keep writes it down where it can: a driver that cannot be undone is better than
// none.
func (j *journal) keep(ctx context.Context) {
	if err := j.write(); err != nil {
		zerolog.Ctx(ctx).Warn().Err(err).Msg("what is changed on this host cannot be recorded, so unload will not undo it")
	}
}
