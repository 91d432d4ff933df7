package stage

import (
	"context"
	"errors"
	"maps"
	"slices"
	"strings"
	"syscall"
)

// Name is a stage of the job, as the log, the errors and the exit codes know it.
type Name string

// The stages, in the order in which a build runs them, and the states of the
// command line that have an exit code of their own.
const (
	Usage   Name = "usage"
	Detect  Name = "detect"
	Driver  Name = "driver"
	Source  Name = "source"
	Prepare Name = "prepare"
	Build   Name = "build"
	Check   Name = "check"
	Publish Name = "publish"
	Load    Name = "load"
	// Share is waiting for, or being refused, the lock on the share.
	Share Name = "share"
)

// Exit codes that belong to no stage.
const (
	ExitDone        = 0
	ExitInternal    = 1
	ExitInterrupted = 130
)

var exitCodes = map[Name]int{
	Usage:   2,
	Detect:  10,
	Driver:  11,
	Source:  12,
	Prepare: 13,
	Build:   14,
	Check:   15,
	Publish: 16,
	Load:    17,
	Share:   75, // EX_TEMPFAIL of sysexits.h: try again later
}

// Names are all of them.
func Names() []Name { return slices.Sorted(maps.Keys(exitCodes)) }

// ExitCode is the process exit code of a failure in the stage.
func (n Name) ExitCode() int {
	if code, ok := exitCodes[n]; ok {
		return code
	}
	return ExitInternal
}

// OfExitCode is the stage whose failure has an exit code; Publish for one that no stage has,
// as of a program that was killed.
func OfExitCode(code int) Name {
	for name, of := range exitCodes {
		if of == code {
			return name
		}
	}
	return Publish
}

// Error is a failure that a user can act on. Its text is one sentence that
// says what was wrong and why that matters, and one that says what to do next.
type Error struct {
	// Stage is where the job stopped.
	Stage Name
	// Kind names the failure where programs tell it from the others of its
	// stage: "no-device". It is empty elsewhere; see [KindOf].
	Kind string
	// Reason says what was found and why it stops the job: no capital, no
	// final period, one clause or two.
	Reason string
	// Hint says what to do next, in the imperative, no final period. It may
	// be empty where nothing sensible can be said.
	Hint string
	// Err is the cause, if there is one beneath this failure.
	Err error
	// Findings are all that stands in the way, where that may be several things; the
	// reason and the hint tell of them too.
	Findings []Finding
}

// Finding is one of the things that stand in the way.
type Finding struct {
	// Name tells it from others, where programs do.
	Name string `json:"name"`
	// Says is a clause, as an error's reason is, and Do the hint; it may be empty
	// where one hint is for all of them.
	Says string `json:"says"`
	Do   string `json:"do"`
}

// New returns an Error without a cause beneath it.
func New(stage Name, reason, hint string) *Error {
	return &Error{Stage: stage, Reason: reason, Hint: hint}
}

// Wrap returns an Error whose cause is err, and nil where err is nil. A
// context's end passes through unchanged, so that an interrupt is never
// reported as a stage's failure.
func Wrap(stage Name, err error, reason, hint string) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.Canceled) {
		return err
	}
	return &Error{Stage: stage, Reason: reason, Hint: hint, Err: err}
}

// OfKind gives an [Error] that has no kind one. Any other error is returned as it is.
func OfKind(kind string, err error) error {
	var failure *Error
	if !errors.As(err, &failure) || failure.Kind != "" {
		return err
	}
	e := *failure
	e.Kind = kind
	return &e
}

// Kinds of failures that may be met in any stage: that a disk is full, and one that is none
// of a stage's, but a bug.
const (
	NoSpace = "no-space"
	Bug     = "bug"
)

// KindOf is the one word by which the log, labels, metrics and events tell a failure from
// others, and by which docs/kinds.md has it: the kind of it, or of its cause, or else its
// stage's name.
func KindOf(err error) string {
	kind := Bug
	var failure *Error
	for at := err; errors.As(at, &failure); at = failure.Err {
		if failure.Kind != "" {
			return failure.Kind
		}
		if kind == Bug {
			kind = string(failure.Stage)
		}
	}
	if errors.Is(err, syscall.ENOSPC) || errors.Is(err, syscall.EDQUOT) {
		return NoSpace
	}
	return kind
}

// Sentence is the reason and its cause, without the stage and the hint.
func (e *Error) Sentence() string {
	if e.Err == nil {
		return e.Reason
	}
	return e.Reason + ": " + e.Err.Error()
}

// Error renders "stage: reason: cause. Hint."
func (e *Error) Error() string {
	text := string(e.Stage) + ": " + e.Sentence()
	if e.Hint != "" {
		text += ". " + strings.ToUpper(e.Hint[:1]) + e.Hint[1:] + "."
	}
	return text
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// ExitCode is the process exit code for any error that leaves the job: the
// stage's own for an [Error], 130 for a canceled context, 1 for the rest.
func ExitCode(err error) int {
	var e *Error
	switch {
	case err == nil:
		return ExitDone
	case errors.As(err, &e):
		return e.Stage.ExitCode()
	case errors.Is(err, context.Canceled):
		return ExitInterrupted
	default:
		return ExitInternal
	}
}
