package gitpack

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// maxHeld bounds the contents that a chain of deltas keeps in memory at once.
const maxHeld = 512 << 20

// resolver makes whole objects of a stored pack's deltas, from each base down
// to what is made of it, so that only the chain at hand is in memory.
type resolver struct {
	*parser
	in       *packfile.Scanner // on the file
	byOffset map[int64][]int   // the deltas whose base is at this offset
	byName   map[plumbing.Hash][]int
	held     int64
	left     int // deltas without a name
}

func (p *parser) resolve() error {
	r := resolver{parser: p, byOffset: map[int64][]int{}, byName: map[plumbing.Hash][]int{}}
	for i, e := range p.entries {
		switch e.kind {
		case plumbing.OFSDeltaObject:
			r.byOffset[e.base] = append(r.byOffset[e.base], i)
		case plumbing.REFDeltaObject:
			r.byName[e.ref] = append(r.byName[e.ref], i)
		default:
			continue
		}
		r.left++
	}
	if r.left == 0 {
		return nil
	}
	stored, err := p.file.reader()
	if err != nil {
		return err
	}
	defer stored.Close()
	r.in = packfile.NewScanner(stored)
	for i := range p.entries {
		if e := &p.entries[i]; !e.kind.IsDelta() && len(r.made(e)) > 0 {
			content, err := r.content(e)
			if err != nil {
				return err
			}
			if err := r.descend(e, e.kind, content); err != nil {
				return err
			}
		}
	}
	if r.left > 0 {
		return fmt.Errorf("%w: %d deltas have no base in it", ErrDamaged, r.left)
	}
	return nil
}

// made are the deltas to be made from an object.
func (r *resolver) made(e *entry) []int {
	return slices.Concat(r.byOffset[e.offset], r.byName[e.hash])
}

// descend makes what an object is the base of.
func (r *resolver) descend(base *entry, kind plumbing.ObjectType, content []byte) error {
	r.held += int64(len(content))
	defer func() { r.held -= int64(len(content)) }()
	if r.held > maxHeld {
		return fmt.Errorf("%w: a chain of deltas", ErrTooMuch)
	}
	for _, i := range r.made(base) {
		e := &r.entries[i]
		if !e.hash.IsZero() {
			continue // the pack has its base twice
		}
		delta, err := r.content(e)
		if err != nil {
			return err
		}
		size := resultSize(delta)
		if size < 0 {
			return fmt.Errorf("%w: a delta that makes nothing", ErrDamaged)
		}
		if err := r.afford(size); err != nil {
			return err
		}
		result, err := packfile.PatchDelta(content, delta)
		if err != nil {
			return fmt.Errorf("%w: %w", ErrDamaged, err)
		}
		if err := r.give(e, kind, result); err != nil {
			return err
		}
		r.left--
		if err := r.descend(e, kind, result); err != nil {
			return err
		}
	}
	return nil
}

// resultSize is what a delta says that it makes: the second number in it. It
// is -1 for a delta that says nothing of the kind.
func resultSize(delta []byte) int64 {
	_, n := binary.Uvarint(delta)
	if n <= 0 {
		return -1
	}
	size, m := binary.Uvarint(delta[n:])
	if m <= 0 {
		return -1
	}
	return int64(size)
}

// content inflates what the pack has of an entry.
func (r *resolver) content(e *entry) ([]byte, error) {
	h, err := r.in.SeekObjectHeader(e.offset)
	if err != nil {
		return nil, err
	}
	var b bytes.Buffer
	b.Grow(int(h.Length)) // it had this length when it arrived
	_, _, err = r.in.NextObject(&b)
	return b.Bytes(), err
}

// salvage makes a pack of the objects that arrived whole.
func (p *parser) salvage() error {
	cut := len(p.entries) - 1 // what follows it is not known to be there
	end := p.entries[cut].offset
	p.entries = p.entries[:cut]
	sum, err := p.file.cut(end, len(p.entries))
	if err != nil {
		return err
	}
	p.sum = sum
	if err := p.resolve(); err != nil && !errors.Is(err, ErrDamaged) {
		return err
	} else if err != nil {
		return fmt.Errorf("the rest of it is needed: %w", err)
	}
	return p.file.keep(p.entries, p.sum)
}
