package main

import (
	"context"
	"errors"
	"fmt"
	"io"

	"github.com/rs/zerolog"
	"github.com/spf13/cobra"

	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/kernel/staged"
	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/stage"
)

const rootHelp = `builder makes NVIDIA kernel modules for exactly the kernel that a host runs.

Run in the cuda image on a CoreOS or Flatcar host, with a folder of the host
mounted at /opt/share that holds an NVIDIA driver package in ./cuda:

    docker run --privileged -v /home/core/share:/opt/share cuda

it leaves the modules and a manifest.json in modules/RELEASE/VERSION of that
folder. Without a subcommand, builder is "builder build". "builder load" then
loads them.

Every option is also an environment variable: --driver-version is
BUILDER_DRIVER_VERSION. An option on the command line wins.

Logs go to stderr, the result to stdout.`

const exitCodesHelp = `
Exit codes:
  0 done              12 source     16 publish
  2 usage             13 prepare    75 another run holds the share
  10 detect           14 build      17 load
  11 driver           15 check      130 interrupted
                                    1 anything else: a bug, please report it
`

// streams are where a command's words go: the result to out, all else to err.
type streams struct {
	out, err io.Writer
}

// defaults are what commands have beside their flags.
type defaults struct {
	build job.Options
	load  node.LoadOptions
	// lesser has this process go on without root's rights: as the owner of what is
	// at a path, if they can read what is named. It cannot be taken back, so that
	// tests have none.
	lesser func(ctx context.Context, path string, reads ...string)
	// plain is share.Plain, which may begin this process again, so that tests have
	// none.
	plain func(share string) (string, error)
	// mount mounts a partition, where it is not the kernel's own mount.
	mount staged.Mounter
	// events are told to the cluster.
	events *events
	// environ is KEY=VALUE, as os.Environ returns it.
	environ []string
}

// plainShare is plain, where there is one.
func (d defaults) plainShare(dir string) (string, error) {
	if d.plain == nil {
		return dir, nil
	}
	return d.plain(dir)
}

// leave is lesser, where there is one.
func (d defaults) leave(ctx context.Context, path string, reads ...string) {
	if d.lesser != nil {
		d.lesser(ctx, path, reads...)
	}
}

// run is the whole program: it parses args, runs one subcommand and returns
// the process's exit code. environ is KEY=VALUE, as os.Environ returns it.
func run(ctx context.Context, d defaults, args, environ []string, stdout, stderr io.Writer) int {
	io := streams{stdout, stderr}
	d.environ = environ
	if d.events == nil {
		d.events = &events{}
	}
	var logging logOptions
	log := defaultLogger(environ, stderr)

	root := newRoot(io, d, &logging)
	root.PersistentPreRunE = func(cmd *cobra.Command, _ []string) error {
		if err := flagsFromEnviron(cmd.Flags(), environ); err != nil {
			return usageError(cmd, err)
		}
		if flag := cmd.Flags().Lookup("share"); flag != nil {
			logging.share = flag.Value.String()
		}
		logger, bar, err := logging.logger(stderr)
		if err != nil {
			return usageError(cmd, err)
		}
		log = logger
		for _, name := range unknownVariables(root, environ) {
			log.Warn().Str("variable", name).Msg("this environment variable stands for no option of builder and is ignored")
		}
		ctx := logger.WithContext(cmd.Context())
		if bar != nil {
			ctx = bar.WithContext(ctx)
		}
		cmd.SetContext(ctx)
		return nil
	}
	root.SetArgs(append([]string{}, args...)) // nil would be os.Args
	root.SetOut(stdout)
	root.SetErr(stderr)

	err := root.ExecuteContext(ctx)
	d.events.failed(log, err)
	report(log, err) // the last line, which is what a pod's status has
	return stage.ExitCode(err)
}

// newRoot is the program's command with all that it has, which reads no environment yet.
func newRoot(io streams, d defaults, logging *logOptions) *cobra.Command {
	root := newBuildCommand(io, d)
	root.Use = "builder [command]"
	root.Short = "Build NVIDIA kernel modules for the kernel that a host runs"
	root.Long = rootHelp
	root.SilenceErrors, root.SilenceUsage = true, true
	helpful(root)
	root.SetFlagErrorFunc(flagError)
	logging.register(root.PersistentFlags())
	root.AddCommand(
		named(newBuildCommand(io, d), "build"),
		newMatrixCommand(io, d),
		newSourceCommand(io, d.build),
		newCaptureCommand(io, d),
		newLoadCommand(io, d),
		newUnloadCommand(io, d.load),
		newNextCommand(io, d),
		newRebootGateCommand(d),
		newPruneCommand(io),
		newPushCommand(io, d),
		newPullCommand(io, d.build),
		newExportCommand(io, d),
		newVerifyCommand(io, d),
		newVersionCommand(io, d),
	)
	return root
}

func named(cmd *cobra.Command, use string) *cobra.Command {
	cmd.Use = use
	return cmd
}

// report is the one place where an error becomes a line of the log.
func report(log zerolog.Logger, err error) {
	var failure *stage.Error
	switch {
	case err == nil:
	case errors.As(err, &failure):
		event := log.Error().Str("stage", string(failure.Stage)).Int("exit", stage.ExitCode(err)).Str("kind", stage.KindOf(err))
		if len(failure.Findings) > 0 {
			event = event.Interface(findingsField, failure.Findings)
		}
		if failure.Hint != "" {
			event = event.Str(nextField, failure.Hint)
		}
		event.Msg(failure.Sentence())
	case errors.Is(err, context.Canceled):
		log.Warn().Int("exit", stage.ExitInterrupted).Msg("interrupted; nothing half done was published")
	default:
		log.Error().Int("exit", stage.ExitCode(err)).Str("kind", stage.KindOf(err)).Msg(err.Error())
	}
}

func usageError(cmd *cobra.Command, err error) error {
	return &stage.Error{Stage: stage.Usage, Reason: err.Error(),
		Hint: fmt.Sprintf("see `%s --help`", cmd.CommandPath())}
}

// noArgs refuses positional arguments with a sentence of our own.
func noArgs(cmd *cobra.Command, args []string) error {
	if len(args) > 0 {
		return unknownCommand(cmd.Root(), args[0])
	}
	return nil
}
