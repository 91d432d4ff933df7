package main

import (
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/mattn/go-isatty"
	"github.com/rs/zerolog"
	"github.com/spf13/pflag"
)

// logOptions are the flags that say how the log looks.
type logOptions struct {
	format string
	debug  bool
}

func (o *logOptions) register(flags *pflag.FlagSet) {
	flags.StringVar(&o.format, "log-format", "auto", "`format` of the log on stderr: console, json, or auto: console on a terminal, json elsewhere")
	flags.BoolVar(&o.debug, "debug", false, "log what is looked at, not only what is decided")
}

// logger returns the log that the flags ask for, written to w.
func (o *logOptions) logger(w io.Writer) (zerolog.Logger, error) {
	level := zerolog.InfoLevel
	if o.debug {
		level = zerolog.DebugLevel
	}
	terminal := isTerminal(w)
	switch o.format {
	case "console":
	case "json":
		return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
	case "auto":
		if !terminal {
			return zerolog.New(w).Level(level).With().Timestamp().Logger(), nil
		}
	default:
		return zerolog.Nop(), fmt.Errorf("--log-format %q is none of auto, console, json", o.format)
	}
	console := zerolog.ConsoleWriter{Out: w, TimeFormat: time.TimeOnly, NoColor: !terminal || os.Getenv("NO_COLOR") != ""}
	return zerolog.New(console).Level(level).With().Timestamp().Logger(), nil
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
			if log, err := (&logOptions{format: format}).logger(w); err == nil {
				return log
			}
		}
	}
	log, _ := (&logOptions{format: "auto"}).logger(w) // a format that is one
	return log
}
