package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"
	"unicode"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/pkg/share"
)

// The formats of the log. Until console was the default there was one that chose between
// the two, and where an environment still asks for that it is the default's name.
const consoleFormat, jsonFormat, formerFormat = "console", "json", "auto"

// logOptions are the flags that say how the log looks.
type logOptions struct {
	format       string
	debug, quiet bool
	// share is the folder by the name that its user gave it.
	share string
}

func (o *logOptions) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.format, "log-format", consoleFormat, "`format` of the log on stderr: console, for people, or json, a line an event, for programs")
	flags.BoolVar(&o.debug, "debug", false, "log what is looked at, not only what is decided")
	flags.BoolVar(&o.quiet, "quiet", false, "log nothing but the error that builder ends with, and show no progress")
}

// bar is where the progress of long work is shown on a terminal; nil: in the log.
func (o *logOptions) bar(w io.Writer) *progress.Bar {
	file, ok := w.(*os.File)
	if !ok || o.quiet || o.format == jsonFormat || !isTerminal(w) || os.Getenv("TERM") == "dumb" {
		return nil
	}
	return progress.NewBar(file, func() int {
		size, err := unix.IoctlGetWinsize(int(file.Fd()), unix.TIOCGWINSZ)
		if err != nil {
			return 0
		}
		return int(size.Col)
	})
}

// logger returns the log that the flags ask for, written to w, and the bar that
// is there too, or nil.
func (o *logOptions) logger(w io.Writer) (zerolog.Logger, *progress.Bar, error) {
	level := zerolog.InfoLevel
	switch {
	case o.quiet && o.debug:
		return zerolog.Nop(), nil, errors.New("--quiet and --debug cannot both be had")
	case o.quiet:
		level = zerolog.ErrorLevel
	case o.debug:
		level = zerolog.DebugLevel
	}
	switch o.format {
	case consoleFormat, formerFormat:
	case jsonFormat:
		return zerolog.New(share.Shown(w, o.share)).Level(level).With().Timestamp().Logger(), nil, nil
	default:
		return zerolog.Nop(), nil, fmt.Errorf("--log-format %q is neither console nor json", o.format)
	}
	color := isTerminal(w) && os.Getenv("NO_COLOR") == ""
	bar := o.bar(w)
	if bar != nil {
		w = bar
	}
	console := zerolog.ConsoleWriter{
		Out: share.Shown(w, o.share), TimeFormat: time.TimeOnly, NoColor: !color,
		FormatPrepare: forPeople, FieldsExclude: []string{findingsField, nextField}, FormatExtra: below,
	}
	return zerolog.New(console).Level(level).With().Timestamp().Logger(), bar, nil
}

// forPeople has an event be one line of the log, whatever is in the files and answers
// of others that it tells of, and gives numbers their units. Other fields are quoted
// where they need it, and all of them in JSON.
func forPeople(event map[string]any) error {
	for name, unit := range units {
		if number, ok := event[name].(json.Number); ok {
			delete(event, name)
			event[unit.name] = unit.of(number)
		}
	}
	if list, _ := event[findingsField].([]any); len(list) > 1 {
		event[zerolog.MessageFieldName] = fmt.Sprintf("%d things stand in the way", len(list))
	}
	if text, ok := event[zerolog.MessageFieldName].(string); ok {
		event[zerolog.MessageFieldName] = oneLine(text)
	}
	for _, value := range event {
		list, _ := value.([]any)
		for i, item := range list {
			if text, ok := item.(string); ok {
				list[i] = oneLine(text)
			}
		}
	}
	return nil
}

// units are the fields that are numbers in JSON, by what people read in their place.
var units = map[string]struct {
	name string
	of   func(json.Number) string
}{
	"seconds": {"took", func(n json.Number) string { return fmt.Sprintf("%.2f s", float(n)) }},
	"wait":    {"wait", func(n json.Number) string { return fmt.Sprintf("%.2f s", float(n)/1000) }},
	"bytes":   {"size", func(n json.Number) string { return progress.Size(uint64(max(float(n), 0))) }},
}

func float(n json.Number) float64 {
	f, _ := n.Float64() // of a number of our own
	return f
}

// What is below an event's line: all that stands in the way where that is more than one
// thing, and what to do.
const findingsField, nextField = "findings", "next"

func below(event map[string]any, out *bytes.Buffer) error {
	list, _ := event[findingsField].([]any)
	told := false
	for _, item := range list {
		finding, _ := item.(map[string]any)
		text := func(name string) string { s, _ := finding[name].(string); return oneLine(s) }
		if len(list) > 1 {
			fmt.Fprintf(out, "\n  %-16s %s", text("name"), text("says"))
		}
		if do := text("do"); do != "" && len(list) > 1 {
			fmt.Fprintf(out, "\n  %-16s -> %s", "", do)
			told = true
		}
	}
	if next, ok := event[nextField].(string); ok && !told {
		fmt.Fprintf(out, "\n  -> %s", oneLine(next))
	}
	return nil
}

// maxLine bounds what of a text is shown: a compiler's line is less.
const maxLine = 64 << 10

// oneLine is a text with all escaped that a terminal would take for anything but what
// it shows in its place: ends of lines, control characters, and those that turn the
// direction of writing.
func oneLine(text string) string {
	if len(text) > maxLine {
		text = text[:maxLine] + "…"
	}
	text = strings.ToValidUTF8(text, "\ufffd")
	if !strings.ContainsFunc(text, func(r rune) bool { return !unicode.IsPrint(r) }) {
		return text
	}
	var line strings.Builder
	for _, r := range text {
		if unicode.IsPrint(r) {
			line.WriteRune(r)
		} else {
			line.WriteString(strings.Trim(strconv.QuoteRune(r), "'"))
		}
	}
	return line.String()
}

func isTerminal(w io.Writer) bool {
	file, ok := w.(*os.File)
	return ok && isatty.IsTerminal(file.Fd())
}

// defaultLogger is the log until the flags are read, which a usage error
// comes before.
func defaultLogger(environ []string, w io.Writer) zerolog.Logger {
	for _, entry := range environ {
		if format, found := strings.CutPrefix(entry, environName("log-format")+"="); found {
			if log, _, err := (&logOptions{format: format}).logger(w); err == nil {
				return log
			}
		}
	}
	log, _, _ := (&logOptions{format: consoleFormat}).logger(w) // a format that is one
	return log
}
