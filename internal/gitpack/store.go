package gitpack

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/format/packfile"
)

// Limits bound what one pack may make of this machine. Zero is no limit.
type Limits struct {
	// Objects is how many there may be.
	Objects int
	// Object and Total are how many bytes one of them, and all of them, may
	// have when they are inflated.
	Object, Total int64
}

var (
	// ErrTooMuch is for a pack that is beyond its limits.
	ErrTooMuch = errors.New("the pack unfolds to more than its limits")
	// ErrDamaged is for a pack that is not what it says.
	ErrDamaged = errors.New("the pack is damaged")
	// ErrBrokenOff is for a stream that ends before its pack does.
	ErrBrokenOff = errors.New("the pack breaks off")
	// ErrStream is for a stream that cannot be read to its end.
	ErrStream = errors.New("the pack cannot be read")
)

// Object is one object of a pack. Its content is not to be changed: deltas may
// still be resolved from it.
type Object struct {
	Hash    plumbing.Hash
	Type    plumbing.ObjectType
	Content []byte
}

// Options say how a pack is stored.
type Options struct {
	Limits Limits
	// Each is called with every object, in one goroutine: while the pack
	// arrives, and at its end with those that are deltas. Its error ends the
	// storing. Nil wants none.
	Each func(Object) error
	// Salvage keeps the whole objects of a stream that breaks off as a pack of
	// their own. The error is returned all the same.
	Salvage bool
}

// Store reads a pack to the end of r and leaves it in the folder dir as git
// keeps packs: pack-SUM.pack and pack-SUM.idx, marked as one of a partial
// clone by pack-SUM.promisor, so that git takes what its objects name and it
// lacks to be the remote's to give. It returns how many objects it has. A pack
// must be whole in itself: a delta's base is in the same pack. Where the pack
// is refused nothing is left behind.
func Store(ctx context.Context, dir string, r io.Reader, o Options) (objects int, err error) {
	f, err := create(dir)
	if err != nil {
		return 0, err
	}
	defer f.discard()
	p := &parser{ctx: ctx, file: f, o: o}
	in := &source{r: r, to: f}
	if err := in.explain(p.read(in)); err != nil {
		if o.Salvage && len(p.entries) > 1 && !errors.Is(err, ErrDamaged) && !errors.Is(err, ErrTooMuch) && ctx.Err() == nil {
			// What cannot be saved is asked for again.
			_ = p.salvage()
		}
		return 0, err
	}
	if err := p.resolve(); err != nil {
		return 0, err
	}
	return len(p.entries), f.keep(p.entries, p.sum)
}

// source is the stream, copied to the file as it is read, and what became of it.
type source struct {
	r    io.Reader
	to   io.Writer
	err  error // of reading
	full error // of writing
}

func (s *source) Read(b []byte) (int, error) {
	n, err := s.r.Read(b)
	if n > 0 {
		if _, err := s.to.Write(b[:n]); err != nil {
			s.full = err
			return 0, err
		}
	}
	if err != nil {
		s.err = err
	}
	return n, err
}

// explain says whether a pack that cannot be read is the stream's fault or its
// own: readers of compressed data do not tell.
func (s *source) explain(err error) error {
	// Of some errors go-git keeps the words only.
	ended := err != nil && (errors.Is(err, packfile.ErrEmptyPackfile) || strings.HasSuffix(err.Error(), io.EOF.Error()))
	switch {
	case err == nil || errors.Is(err, ErrTooMuch) || errors.Is(err, errReceiver):
		return err
	case s.full != nil:
		return s.full
	case errors.Is(s.err, io.ErrUnexpectedEOF) || errors.Is(s.err, io.EOF) && ended:
		return fmt.Errorf("%w: %w", ErrBrokenOff, err)
	case s.err != nil && !errors.Is(s.err, io.EOF):
		return fmt.Errorf("%w: %w", ErrStream, s.err)
	default:
		return fmt.Errorf("%w: %w", ErrDamaged, err)
	}
}

// errReceiver marks an error of [Options.Each].
var errReceiver = errors.New("the objects cannot be used")

// entry is one object as the pack has it.
type entry struct {
	hash   plumbing.Hash
	offset int64
	crc    uint32
	kind   plumbing.ObjectType // as stored: it may be a delta
	base   int64               // of a delta by offset
	ref    plumbing.Hash       // of a delta by name
}

type parser struct {
	ctx     context.Context
	file    *file
	o       Options
	entries []entry
	total   int64
	sum     plumbing.Hash
}

// read takes the stream apart, up to the pack's own checksum.
func (p *parser) read(r io.Reader) error {
	in := packfile.NewScanner(r)
	_, count, err := in.Header()
	if err != nil {
		return err
	}
	if p.o.Limits.Objects > 0 && int64(count) > int64(p.o.Limits.Objects) {
		return fmt.Errorf("%w: %d objects", ErrTooMuch, count)
	}
	for range count {
		if err := p.next(in); err != nil {
			return err
		}
	}
	if p.sum, err = in.Checksum(); err != nil {
		return err
	}
	// A server may say more, such as its progress; no more of the pack.
	if _, err := io.Copy(io.Discard, r); err != nil {
		return err
	}
	return p.file.endsWith(p.sum)
}

// next reads one object.
func (p *parser) next(in *packfile.Scanner) error {
	h, err := in.NextObjectHeader()
	if err != nil {
		return err
	}
	if err := p.afford(h.Length); err != nil {
		return err
	}
	e := entry{offset: h.Offset, kind: h.Type, base: h.OffsetReference, ref: h.Reference}
	p.entries = append(p.entries, e)
	var content bytes.Buffer
	// No more than it is worth to a header that lies.
	content.Grow(int(min(h.Length, 1<<20)))
	n, crc, err := in.NextObject(&content)
	if err != nil {
		return err
	}
	if n != h.Length {
		return fmt.Errorf("an object has %d bytes and claims %d", n, h.Length)
	}
	last := &p.entries[len(p.entries)-1]
	last.crc = crc
	if h.Type.IsDelta() {
		return nil
	}
	return p.give(last, h.Type, content.Bytes())
}

// afford counts an object's inflated bytes against the limits.
func (p *parser) afford(size int64) error {
	l := p.o.Limits
	p.total += size
	if size < 0 || l.Object > 0 && size > l.Object {
		return fmt.Errorf("%w: an object of %d bytes", ErrTooMuch, size)
	}
	if l.Total > 0 && p.total > l.Total {
		return fmt.Errorf("%w: objects of more than %d bytes", ErrTooMuch, l.Total)
	}
	return p.ctx.Err()
}

// give names an object and hands it to the receiver.
func (p *parser) give(e *entry, kind plumbing.ObjectType, content []byte) error {
	e.hash = plumbing.ComputeHash(kind, content)
	if p.o.Each == nil {
		return nil
	}
	if err := p.o.Each(Object{Hash: e.hash, Type: kind, Content: content}); err != nil {
		return fmt.Errorf("%w: %w", errReceiver, err)
	}
	return nil
}
