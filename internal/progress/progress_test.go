package progress

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
)

// screen is a terminal as wide as it says: what is on it after all that was
// written, and whether a line ever was too long for it.
type screen struct {
	mu      sync.Mutex
	columns int
	lines   []string
	column  int
	wrapped bool
	seen    []string // the last line, whenever something was drawn in it
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	text := string(p)
	if len(s.lines) == 0 {
		s.lines = []string{""}
	}
	last := func() *string { return &s.lines[len(s.lines)-1] }
	for text != "" {
		switch {
		case strings.HasPrefix(text, "\r"):
			s.column, text = 0, text[1:]
		case strings.HasPrefix(text, "\x1b[K"):
			*last() = (*last())[:s.column]
			text = text[3:]
		case strings.HasPrefix(text, "\n"):
			s.lines, s.column, text = append(s.lines, ""), 0, text[1:]
		default:
			if s.column < len(*last()) {
				*last() = (*last())[:s.column] + text[:1] + (*last())[s.column+1:]
			} else {
				*last() += text[:1]
			}
			if s.column++; s.column >= s.columns {
				s.wrapped = true
			}
			text = text[1:]
		}
	}
	s.seen = append(s.seen, *last())
	return len(p), nil
}

// words is a state's line as a log has it.
func words(s state, unit Unit, t times) string { return strings.Join(s.words(unit, t), ", ") }

func TestWords(t *testing.T) {
	at := times{all: 12 * time.Second, counting: 10 * time.Second}
	for _, tt := range []struct {
		name string
		s    state
		unit Unit
		at   times
		want string
	}{
		{"nothing yet", state{}, "files", at, "12s"},
		{"a total and nothing done", state{total: 9025}, "files", times{all: 3 * time.Second}, "0 of 9025 files, 3s"},
		{"half", state{done: 4000, total: 8000, bytes: 9e6}, "files", at, "4000 of 8000 files, 9 MB, 900 kB/s, 10s left"},
		{"all", state{done: 8000, total: 8000, bytes: 18e6}, "files", at, "8000 of 8000 files, 18 MB, 2 MB/s, 0s left"},
		{"no total", state{done: 70}, "objects", at, "70 objects, 12s"},
		{"more than there was to be", state{done: 70, total: 60}, "objects", at, "70 of 60 objects, 12s"},
		{"a download", state{done: 30e6, total: 390e6, bytes: 30e6}, Bytes, at, "30 MB of 390 MB, 3 MB/s, 2m0s left"},
		{"a download that goes on", state{done: 330e6, total: 390e6, bytes: 30e6}, Bytes, at, "330 MB of 390 MB, 3 MB/s, 20s left"},
		{"a download of who knows how much", state{done: 30e6, bytes: 30e6}, Bytes, at, "30 MB, 3 MB/s, 12s"},
		{"a note", state{total: 192, note: "130 kernel interfaces tested"}, "objects", at, "0 of 192 objects, 130 kernel interfaces tested, 12s"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			if got := words(tt.s, tt.unit, tt.at); got != tt.want {
				t.Errorf("%q, want %q", got, tt.want)
			}
		})
	}
}

func TestBarOfAnyWidth(t *testing.T) {
	s := state{done: 4000, total: 8000, bytes: 9e6, note: "Größe: 50%"}
	at := times{all: 12 * time.Second, counting: 10 * time.Second}
	const whole = "kernel source  [###############---------------]  50%  4000 of 8000 files  9 MB  900 kB/s  Gr??e: 50%  10s left"
	for columns, want := range map[int]string{
		200: whole,
		91:  "kernel source  [#####------]  50%  4000 of 8000 files  9 MB  900 kB/s  Gr??e: 50%  10s left",
		87:  "kernel source  4000 of 8000 files  9 MB  900 kB/s  Gr??e: 50%  10s left",
		20:  "kernel source  4000 ",
		1:   "k",
		0:   "",
		-1:  "",
	} {
		if got := s.bar("kernel source", "files", at, columns); got != want {
			t.Errorf("in %d columns %q, want %q", columns, got, want)
		}
	}
	for columns := range 200 {
		if got := s.bar("kernel source", "files", at, columns); len(got) > columns {
			t.Errorf("%d columns in %d: %q", len(got), columns, got)
		}
	}
	// No bar without a total that is one.
	for _, s := range []state{{done: 5}, {done: 9, total: 5}} {
		if got := s.bar("x", "files", at, 200); strings.ContainsAny(got, "[%") {
			t.Errorf("%+v is shown as %q", s, got)
		}
	}
}

// The log and the bar share a terminal: each line of the log is whole, and
// nothing of the bar is left.
func TestBarAndLog(t *testing.T) {
	for _, columns := range []int{0, 20, 100} {
		t.Run(fmt.Sprint(columns), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				wide := columns
				if wide == 0 {
					wide = defaultColumns
				}
				terminal := &screen{columns: wide}
				bar := NewBar(terminal, func() int { return columns })
				ctx := bar.WithContext(t.Context())
				var want []string
				task := Begin(ctx, "kernel source", "files", 100)
				for i := range 10 {
					task.Add(10)
					task.Note("remote: counting")
					time.Sleep(everyBar * 3 / 2)
					line := fmt.Sprintf("line %d", i)
					want = append(want, line)
					fmt.Fprintln(bar, line)
				}
				time.Sleep(everyBar)
				task.End()
				if n := strings.Count(strings.Join(terminal.seen, "\n"), "kernel source"); n < 10 {
					t.Errorf("the bar was drawn %d times", n)
				}
				if diff := cmp.Diff(append(want, ""), terminal.lines); diff != "" {
					t.Errorf("on the screen (-want +got):\n%s", diff)
				}
				if terminal.wrapped {
					t.Errorf("a line was too long for the terminal: %q", terminal.seen)
				}
			})
		})
	}
}

func TestLinesOfALog(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var log bytes.Buffer
		ctx := zerolog.New(&log).WithContext(t.Context())
		task := Begin(ctx, "kernel source", "files", 100)
		time.Sleep(everyLine + time.Second) // a server thinks
		for range 3 {
			task.Add(20)
			if _, err := io.Copy(io.Discard, task.Reader(strings.NewReader(strings.Repeat("x", 2e6)))); err != nil {
				t.Fatal(err)
			}
			time.Sleep(everyLine)
		}
		time.Sleep(time.Minute) // nothing comes any more, and nothing is said
		task.Note("remote: \x1b[2Jcounting")
		time.Sleep(everyLine)
		task.End()
		task.Add(1)
		time.Sleep(time.Minute)

		want := []string{
			"kernel source: 20 of 100 files, 2 MB, 500 kB/s, 16s left",
			"kernel source: 40 of 100 files, 4 MB, 444 kB/s, 14s left",
			"kernel source: 60 of 100 files, 6 MB, 429 kB/s, 9s left",
			"kernel source: 60 of 100 files, 6 MB, 76 kB/s, remote: [2Jcounting, 53s left",
		}
		var got []string
		for line := range strings.Lines(log.String()) {
			_, message, _ := strings.Cut(line, `"message":"`)
			got = append(got, strings.TrimSuffix(message, "\"}\n"))
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("log (-want +got):\n%s", diff)
		}
	})
}

// Nobody sees a task where the log is for errors alone, and none is needed.
func TestNoDisplay(t *testing.T) {
	for name, ctx := range map[string]context.Context{
		"no log":      t.Context(),
		"errors only": zerolog.New(io.Discard).Level(zerolog.ErrorLevel).WithContext(t.Context()),
	} {
		t.Run(name, func(t *testing.T) {
			task := Begin(ctx, "x", Bytes, 1)
			if task != nil {
				t.Error("there is a task")
			}
			task.Add(1)
			task.Set(1)
			task.SetTotal(1)
			task.Note("x")
			fmt.Fprintln(task.Notes(), "x")
			if text, err := io.ReadAll(task.Reader(strings.NewReader("text"))); err != nil || string(text) != "text" {
				t.Errorf("read %q, %v", text, err)
			}
			task.End()
		})
	}
}

// A download's bytes are what it is counted in.
func TestReaderOfADownload(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		task := Begin(NewBar(io.Discard, func() int { return 0 }).WithContext(t.Context()), "package", Bytes, 1000)
		if _, err := io.ReadAll(task.Reader(strings.NewReader(strings.Repeat("x", 300)))); err != nil {
			t.Fatal(err)
		}
		if got := task.state(); got != (state{done: 300, total: 1000, bytes: 300}) {
			t.Errorf("state %+v", got)
		}
		task.End()
	})
}
