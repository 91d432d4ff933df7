package progress

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"
	"time"

	"github.com/rs/zerolog"
)

// Unit is what a task counts, in the plural.
type Unit string

// Bytes are counted in [Task.Add] like anything else, and shown as a size, with
// their rate.
const Bytes Unit = "bytes"

// How often a task is shown. One that is over sooner is not shown at all.
const (
	everyLine = 5 * time.Second
	everyBar  = 200 * time.Millisecond
)

// Task is work whose progress is shown. Its methods may be called from any
// goroutine, and on nil, which shows nothing.
type Task struct {
	what string
	unit Unit
	// done is of total, which is 0 where it is not known; bytes are those that
	// the work moved, where they are not what it is counted in.
	done, total, bytes atomic.Int64
	note               atomic.Pointer[string]
	began              time.Time
	counted            atomic.Int64 // when the first was, in nanoseconds since began; 0: none yet

	stop, stopped chan struct{}
}

// Begin starts a task of total units, 0 where that is not known. What is a noun
// that the user knows the work by: "kernel source". The caller ends it.
func Begin(ctx context.Context, what string, unit Unit, total int64) *Task {
	bar, _ := ctx.Value(barKey{}).(*Bar)
	log := zerolog.Ctx(ctx)
	if bar == nil && log.GetLevel() > zerolog.InfoLevel {
		return nil
	}
	t := &Task{what: what, unit: unit, began: time.Now(), stop: make(chan struct{}), stopped: make(chan struct{})}
	t.SetTotal(total)
	if bar != nil {
		go t.repeat(everyBar, func() { bar.draw(t) }, bar.clear)
		return t
	}
	shown := t.state()
	go t.repeat(everyLine, func() {
		// The time alone is no news.
		if now := t.state(); now != shown {
			shown = now
			log.Info().Msg(t.what + ": " + strings.Join(now.words(t.unit, t.elapsed()), ", "))
		}
	}, func() {})
	return t
}

// repeat shows the task until it ends.
func (t *Task) repeat(every time.Duration, show, end func()) {
	defer close(t.stopped)
	tick := time.NewTicker(every)
	defer tick.Stop()
	for {
		select {
		case <-tick.C:
			show()
		case <-t.stop:
			end()
			return
		}
	}
}

// End takes the task from the screen. It is called once.
func (t *Task) End() {
	if t == nil {
		return
	}
	close(t.stop)
	<-t.stopped
}

// SetTotal says how many units there are to do; 0 or less is not known.
func (t *Task) SetTotal(n int64) {
	if t != nil {
		t.total.Store(max(n, 0))
	}
}

// Add counts n more units.
func (t *Task) Add(n int64) {
	if t != nil {
		t.done.Add(n)
		t.mark()
	}
}

// Set counts n units in all.
func (t *Task) Set(n int64) {
	if t != nil && t.done.Swap(n) != n {
		t.mark()
	}
}

// Reader counts the bytes that are read from r.
func (t *Task) Reader(r io.Reader) io.Reader {
	if t == nil {
		return r
	}
	return &reader{r, t}
}

type reader struct {
	io.Reader
	task *Task
}

// Read implements [io.Reader].
func (r *reader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.task.bytes.Add(int64(n))
		if r.task.unit == Bytes {
			r.task.done.Add(int64(n))
		}
		r.task.mark()
	}
	return n, err
}

// mark remembers when the counting began: what comes before it, such as a
// server's thinking, says nothing about the rate.
func (t *Task) mark() { t.counted.CompareAndSwap(0, max(1, int64(time.Since(t.began)))) }

// elapsed is the time since the task began, and since it first counted.
func (t *Task) elapsed() times {
	all := time.Since(t.began)
	counting := time.Duration(0)
	if first := t.counted.Load(); first > 0 {
		counting = all - time.Duration(first)
	}
	return times{all, counting}
}

type times struct{ all, counting time.Duration }

func (t *Task) state() state {
	s := state{done: t.done.Load(), total: t.total.Load(), bytes: t.bytes.Load()}
	if note := t.note.Load(); note != nil {
		s.note = *note
	}
	return s
}

// state is how far a task has come.
type state struct {
	done, total, bytes int64
	note               string
}

// words are the state for people: the count, the bytes and their rate, the note,
// and the time that is left or, where that cannot be told, that has passed.
func (s state) words(unit Unit, t times) []string {
	var words []string
	if s.done > 0 || s.total > 0 {
		words = append(words, s.count(unit))
	}
	if s.bytes > 0 {
		if unit != Bytes {
			words = append(words, size(s.bytes))
		}
		if t.counting > 0 {
			words = append(words, size(int64(float64(s.bytes)/t.counting.Seconds()))+"/s")
		}
	}
	if s.note != "" {
		words = append(words, s.note)
	}
	if left, known := s.left(unit, t.counting); known {
		return append(words, left.Round(time.Second).String()+" left")
	}
	return append(words, t.all.Round(time.Second).String())
}

func (s state) count(unit Unit) string {
	switch {
	case unit == Bytes && s.total > 0:
		return size(s.done) + " of " + size(s.total)
	case unit == Bytes:
		return size(s.done)
	case s.total > 0:
		return fmt.Sprintf("%d of %d %s", s.done, s.total, unit)
	}
	return fmt.Sprintf("%d %s", s.done, unit)
}

// left is the time that is left if the rest goes as what is done did. What a
// download found there took no time.
func (s state) left(unit Unit, counting time.Duration) (left time.Duration, known bool) {
	moved := s.done
	if unit == Bytes {
		moved = s.bytes
	}
	if moved <= 0 || s.done > s.total || counting <= 0 {
		return 0, false
	}
	return time.Duration(float64(counting) / float64(moved) * float64(s.total-s.done)), true
}

func size(n int64) string { return Size(uint64(max(n, 0))) }
