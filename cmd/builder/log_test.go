package main

import (
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/stage"
)

// TestLogIsOneLineAnEvent has text of others not pass for lines of the log, nor do
// anything to a terminal.
func TestLogIsOneLineAnEvent(t *testing.T) {
	const forged = "held by x\n12:00:00 INF the driver is loaded\x1b[2J\r\u202e\u009b1m\x9b é"
	if _, _, err := (&logOptions{format: "xml"}).logger(io.Discard); err == nil || !strings.Contains(err.Error(), `"xml" is neither console nor json`) {
		t.Errorf("error %v", err)
	}
	for _, format := range []string{"console", "auto", "json"} {
		var out bytes.Buffer
		log, _, err := (&logOptions{format: format}).logger(&out)
		if err != nil {
			t.Fatal(err)
		}
		log.Warn().Str("field", forged).Strs("list", []string{forged}).Msg(forged)
		report(log, stage.New(stage.Share, forged, forged))
		text := out.String()
		lines := map[string]int{"json": 2, "console": 3, "auto": 3}[format] // the hint has one of its own
		if strings.Count(text, "\n") != lines || strings.ContainsAny(text, "\x1b\r") {
			t.Errorf("%s: %q", format, text)
		}
		if format != "json" && (strings.ContainsAny(text, "\u202e\u009b") || strings.Contains(text, "\x9b") && !strings.Contains(text, `\x9b`)) {
			t.Errorf("%q", text)
		}
		if !strings.Contains(text, "held by x") || !strings.Contains(text, "é") {
			t.Errorf("%s says too little: %q", format, text)
		}
	}
}

func TestOneLine(t *testing.T) {
	for text, want := range map[string]string{
		"":                             "",
		"plain, “quoted” 'é' …":        "plain, “quoted” 'é' …",
		"a\nb\tc\x00":                  `a\nb\tc\x00`,
		"\x1b[31m\u2028\u202e\u0085":   `\x1b[31m\u2028\u202e\u0085`,
		"\x9b2J":                       "\ufffd2J",
		strings.Repeat("x", maxLine+1): strings.Repeat("x", maxLine) + "…",
	} {
		if got := oneLine(text); got != want {
			t.Errorf("%.40q: %.40q, want %.40q", text, got, want)
		}
	}
}

// TestForPeople: the hint is on a line of its own, and what stands in the way is a
// table where that are several things. Numbers have units.
func TestForPeople(t *testing.T) {
	shown := func(do func(zerolog.Logger)) string {
		var out bytes.Buffer
		log, _, err := (&logOptions{format: consoleFormat}).logger(&out)
		if err != nil {
			t.Fatal(err)
		}
		do(log)
		var lines []string
		for line := range strings.Lines(out.String()) {
			lines = append(lines, regexp.MustCompile(`^\d\d:\d\d:\d\d `).ReplaceAllString(line, ""))
		}
		return strings.Join(lines, "")
	}
	several := &stage.Error{Stage: stage.Load, Kind: "seccomp", Reason: "2 things stand in the way: (1) a; (2) b", Hint: "do a; do b", Findings: []stage.Finding{
		{Name: "seccomp", Says: "a", Do: "do a"}, {Name: "no-firmware", Says: "b", Do: "do b"},
	}}
	one := &stage.Error{Stage: stage.Load, Kind: "seccomp", Reason: "a", Hint: "do a", Findings: several.Findings[:1]}
	gate := &stage.Error{Stage: stage.Check, Reason: "the modules would not do: x; y", Hint: "do this", Findings: []stage.Finding{{Name: "x", Says: "x failed"}, {Name: "y", Says: "y failed"}}}
	for _, tt := range []struct {
		do   func(zerolog.Logger)
		want string
	}{
		{func(log zerolog.Logger) { report(log, several) },
			"ERR 2 things stand in the way exit=17 kind=seccomp stage=load\n  seccomp          a\n                   -> do a\n  no-firmware      b\n                   -> do b\n"},
		{func(log zerolog.Logger) { report(log, one) }, "ERR a exit=17 kind=seccomp stage=load\n  -> do a\n"},
		{func(log zerolog.Logger) { report(log, gate) },
			"ERR 2 things stand in the way exit=15 kind=check stage=check\n  x                x failed\n  y                y failed\n  -> do this\n"},
		{func(log zerolog.Logger) { log.Info().Float64("seconds", 3.5).Int64("bytes", 12_000_000).Msg("m") }, "INF m size=\"12 MB\" took=\"3.50 s\"\n"},
	} {
		if got := shown(tt.do); got != tt.want {
			t.Errorf("%q, want %q", got, tt.want)
		}
	}
}
