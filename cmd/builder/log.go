package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
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

// logOptions are the flags that say how the log looks.
type logOptions struct {
	format       string
	debug, quiet bool
	// share is the folder by the name that its user gave it.
	share string
}

func (o *logOptions) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.format, "log-format", "auto", "`format` of the log on stderr: console, json, or auto: console on a terminal, json elsewhere")
	flags.BoolVar(&o.debug, "debug", false, "log what is looked at, not only what is decided")
	flags.BoolVar(&o.quiet, "quiet", false, "log nothing but the error that builder ends with, and show no progress")
}

// bar is where the progress of long work is shown on a terminal; nil: in the log.
func (o *logOptions) bar(w io.Writer) *progress.Bar {
	file, ok := w.(*os.File)
	if !ok || o.quiet || o.format == "json" || !isTerminal(w) || os.Getenv("TERM") == "dumb" {
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
	if !slices.Contains([]string{"auto", "console", "json"}, o.format) {
		return zerolog.Nop(), nil, fmt.Errorf("--log-format %q is none of auto, console, json", o.format)
	}
	terminal := isTerminal(w)
	if o.format == "json" || o.format == "auto" && !terminal {
		return zerolog.New(share.Shown(w, o.share)).Level(level).With().Timestamp().Logger(), nil, nil
	}
	bar := o.bar(w)
	if bar != nil {
		w = bar
	}
	console := zerolog.ConsoleWriter{Out: share.Shown(w, o.share), TimeFormat: time.TimeOnly, NoColor: !terminal || os.Getenv("NO_COLOR") != "", FormatPrepare: oneLineEach}
	return zerolog.New(console).Level(level).With().Timestamp().Logger(), bar, nil
}

// oneLineEach has an event be one line of the log, whatever is in the files and
// answers of others that it tells of. Other fields are quoted where they need it, and
// all of them in JSON.
func oneLineEach(event map[string]any) error {
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
	log, _, _ := (&logOptions{format: "auto"}).logger(w) // a format that is one
	return log
}
