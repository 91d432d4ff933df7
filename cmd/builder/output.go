package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"slices"

	"github.com/spf13/pflag"

	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/stage"
)

// output is the form of a command's result on stdout.
type output string

var outputs = []output{"text", "json"}

// Set, String and Type make an output a flag.
func (o *output) Set(text string) error {
	if !slices.Contains(outputs, output(text)) {
		return fmt.Errorf("%q is neither text nor json", text)
	}
	*o = output(text)
	return nil
}
func (o *output) String() string { return string(*o) }
func (o *output) Type() string   { return "format" }

// resultOutput is the output of what makes a result, which other programs may also take as
// lines NAME=VALUE.
type resultOutput struct{ *output }

// env is that form.
const env = output("env")

// Set implements what a flag asks for.
func (o resultOutput) Set(text string) error {
	if output(text) == env {
		*o.output = env
		return nil
	}
	if o.output.Set(text) != nil {
		return fmt.Errorf("%q is none of text, json and env", text)
	}
	return nil
}

func resultFlag(flags *pflag.FlagSet, format *output) {
	flags.Var(resultOutput{format}, "output", "`format` of the result on stdout: text, json, or env, lines NAME=VALUE")
}

// printResult prints what a build or a pull has come to.
func printResult(io streams, r job.Result, format output) (err error) {
	switch format {
	case "json":
		return printJSON(io, r)
	case env:
		_, err = fmt.Fprintf(io.out, "manifest=%s\nrelease=%s\ndriver=%s\nmodule_type=%s\nreused=%t\nartefact=%s\n",
			r.Manifest, r.Release, r.Driver, r.ModuleType, r.Reused, r.Artefact)
	default:
		_, err = fmt.Fprintln(io.out, r.Manifest)
	}
	return err
}

func printJSON(io streams, value any) error {
	encoder := json.NewEncoder(io.out)
	encoder.SetIndent("", "  ")
	encoder.SetEscapeHTML(false)
	return encoder.Encode(value)
}

// failed is what --output json has of a failure.
type failed struct {
	// Kind is the log's: see docs/kinds.md.
	Kind string `json:"kind"`
	// Failures are what stood in the way, each by its name.
	Failures []stage.Finding `json:"failures"`
	// Log is what the kernel's log says of a load's.
	Log []string `json:"log,omitempty"`
	// GPUs are the host's and how each is, where a load got that far.
	GPUs []node.GPU `json:"gpus,omitempty"`
}

// printFailure adds a failure's findings to stdout where programs read it, and
// returns the failure.
func printFailure(io streams, err error, format output, gpus ...node.GPU) error {
	var failure *stage.Error
	if format != "json" || !errors.As(err, &failure) {
		return err
	}
	list := slices.Clone(failure.Findings)
	for i := range list {
		list[i].Do = cmp.Or(list[i].Do, failure.Hint)
	}
	if len(list) == 0 {
		list = []stage.Finding{{Name: stage.KindOf(err), Says: failure.Sentence(), Do: failure.Hint}}
	}
	var log *node.KernelLog
	if !errors.As(err, &log) {
		log = &node.KernelLog{}
	}
	return errors.Join(err, printJSON(io, failed{stage.KindOf(err), list, log.Lines, gpus}))
}
