package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/stage"
)

// TestLogIsOneLineAnEvent has text of others not pass for lines of the log, nor do
// anything to a terminal.
func TestLogIsOneLineAnEvent(t *testing.T) {
	const forged = "held by x\n12:00:00 INF the driver is loaded\x1b[2J\r\u202e\u009b1m\x9b é"
	for _, format := range []string{"console", "json"} {
		var out bytes.Buffer
		log, _, err := (&logOptions{format: format}).logger(&out)
		if err != nil {
			t.Fatal(err)
		}
		log.Warn().Str("field", forged).Strs("list", []string{forged}).Msg(forged)
		report(log, stage.New(stage.Share, forged, forged))
		text := out.String()
		if strings.Count(text, "\n") != 2 || strings.ContainsAny(text, "\x1b\r") {
			t.Errorf("%s: %q", format, text)
		}
		if format == "console" && (strings.ContainsAny(text, "\u202e\u009b") || strings.Contains(text, "\x9b") && !strings.Contains(text, `\x9b`)) {
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
