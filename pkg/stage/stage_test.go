package stage_test

import (
	"context"
	"errors"
	"fmt"
	"syscall"
	"testing"

	"github.com/k8sp/cuda/pkg/stage"
)

func TestErrorIsOneSentenceAndAHint(t *testing.T) {
	tests := []struct {
		name string
		err  error
		want string
	}{
		{"reason and hint", stage.New(stage.Driver, "no driver package in /opt/share/cuda", "put one there"),
			"driver: no driver package in /opt/share/cuda. Put one there."},
		{"with a cause", stage.Wrap(stage.Source, errors.New("connection refused"), "https://example.com/x.git cannot be reached", "check the proxy"),
			"source: https://example.com/x.git cannot be reached: connection refused. Check the proxy."},
		{"without a hint", stage.New(stage.Check, "nvidia.ko is not ELF", ""), "check: nvidia.ko is not ELF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if got := tt.err.Error(); got != tt.want {
				t.Errorf("got  %q\nwant %q", got, tt.want)
			}
		})
	}
}

func TestExitCode(t *testing.T) {
	tests := []struct {
		err  error
		want int
	}{
		{nil, 0},
		{stage.New(stage.Usage, "r", ""), 2},
		{stage.New(stage.Detect, "r", ""), 10},
		{stage.New(stage.Driver, "r", ""), 11},
		{stage.New(stage.Source, "r", ""), 12},
		{stage.New(stage.Prepare, "r", ""), 13},
		{stage.New(stage.Build, "r", ""), 14},
		{stage.New(stage.Check, "r", ""), 15},
		{stage.New(stage.Publish, "r", ""), 16},
		{stage.New(stage.Load, "r", ""), 17},
		{stage.New(stage.Share, "r", ""), 75},
		{fmt.Errorf("job: %w", stage.New(stage.Build, "r", "")), 14},
		{stage.Wrap(stage.Build, fmt.Errorf("run: %w", context.Canceled), "r", ""), 130},
		{context.Canceled, 130},
		{errors.New("a bug"), 1},
	}
	for _, tt := range tests {
		if got := stage.ExitCode(tt.err); got != tt.want {
			t.Errorf("ExitCode(%v) = %d, want %d", tt.err, got, tt.want)
		}
	}
}

// TestKinds: each failure has one word: who knew most of it gave it.
func TestKinds(t *testing.T) {
	plain := stage.New(stage.Driver, "r", "h")
	kind := stage.OfKind("gpu", fmt.Errorf("job: %w", plain))
	full := fmt.Errorf("write: %w", syscall.ENOSPC)
	for _, tt := range []struct {
		err  error
		want string
	}{
		{fmt.Errorf("job: %w", plain), "driver"},
		{kind, "gpu"},
		{stage.OfKind("other", kind), "gpu"},
		{stage.Wrap(stage.Load, kind, "r", "h"), "gpu"},
		{stage.Wrap(stage.Load, plain, "r", "h"), "load"},
		{stage.Wrap(stage.Build, full, "r", "h"), "no-space"},
		{stage.OfKind("registry", stage.Wrap(stage.Build, full, "r", "h")), "registry"},
		{full, "no-space"},
		{errors.New("other"), "bug"},
	} {
		if got := stage.KindOf(tt.err); got != tt.want {
			t.Errorf("%v is of the kind %q, want %q", tt.err, got, tt.want)
		}
	}
	if plain.Kind != "" {
		t.Errorf("the error that was given a kind has %q now", plain.Kind)
	}
	for _, err := range []error{errors.New("other"), nil} {
		if got := stage.OfKind("gpu", err); got != err {
			t.Errorf("%v, want %v", got, err)
		}
	}
}
