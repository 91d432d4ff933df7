package progress

import (
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"unicode/utf8"
)

// Bar is the last line of a terminal, which shows the task that is under way.
// Whatever else is written to the terminal goes through it, so that neither
// garbles the other; its methods may be called from any goroutine.
type Bar struct {
	out io.Writer
	// columns is how wide it is now; 0 where that is not known.
	columns func() int

	mu    sync.Mutex
	shown bool // the last line is a bar's
}

// NewBar returns the bar of a terminal. Columns is asked each time that it is
// drawn, since windows change; 0 is not known.
func NewBar(out io.Writer, columns func() int) *Bar { return &Bar{out: out, columns: columns} }

type barKey struct{}

// WithContext returns a context in which tasks are shown on the bar.
func (b *Bar) WithContext(ctx context.Context) context.Context {
	return context.WithValue(ctx, barKey{}, b)
}

// erase goes to the beginning of the line and clears it (ECMA-48's EL).
const erase = "\r\x1b[K"

// Write writes whole lines, such as a log's, in the bar's place, which comes
// back below them when it is next drawn.
func (b *Bar) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		b.shown = false
		if _, err := io.WriteString(b.out, erase); err != nil {
			return 0, err
		}
	}
	return b.out.Write(p)
}

// A terminal that does not say how wide it is has as many columns as most.
const defaultColumns = 80

func (b *Bar) draw(t *Task) {
	columns := b.columns()
	if columns <= 0 {
		columns = defaultColumns
	}
	// In the last column some terminals begin a new line.
	text := t.state().bar(t.what, t.unit, t.elapsed(), columns-1)
	b.mu.Lock()
	defer b.mu.Unlock()
	b.shown = true
	_, _ = io.WriteString(b.out, erase+text) // a terminal that is gone misses nothing
}

func (b *Bar) clear() {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.shown {
		b.shown = false
		_, _ = io.WriteString(b.out, erase)
	}
}

// The bar's own width; one that is narrower says less than the numbers do.
const minBar, maxBar = 10, 30

// bar is the state in at most so many columns. Where they are too few the bar
// itself goes first, and then what stands furthest right.
func (s state) bar(what string, unit Unit, t times, columns int) string {
	text := what + "  " + strings.Join(s.words(unit, t), "  ")
	if s.total > 0 && s.done <= s.total {
		percent := fmt.Sprintf(" %3d%%  ", s.done*100/s.total)
		room := columns - utf8.RuneCountInString(text) - len("[]") - len(percent)
		if width := min(room, maxBar); width >= minBar {
			filled := int(s.done * int64(width) / s.total)
			bar := "[" + strings.Repeat("#", filled) + strings.Repeat("-", width-filled) + "]"
			text = what + "  " + bar + percent + strings.Join(s.words(unit, t), "  ")
		}
	}
	return cut(text, columns)
}

// cut is text in at most so many columns, of printable characters alone: a note
// may be a server's word.
func cut(text string, columns int) string {
	var b strings.Builder
	for _, r := range text {
		if columns <= 0 {
			break
		}
		if r < ' ' || r == 0x7f || r >= 0x80 {
			r = '?'
		}
		b.WriteRune(r)
		columns--
	}
	return b.String()
}
