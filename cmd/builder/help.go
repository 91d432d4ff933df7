package main

import (
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

// flagGroups are the options of a build by what they are about, in the order in which
// help shows them. Those of other commands are shown in the same groups.
var flagGroups = []struct {
	title string
	names []string
}{
	{"What to build for", []string{"share", "host-root", "host-share", "kernel-image", "kernel-image-sha256", "kernel-image-sha512", "flatcar", "flatcar-server"}},
	{"The driver", []string{
		"driver-version", "driver-releases", "driver-sha256", "driver-base-url", "driver-patches", "module-type", "modules", "exclude-modules", "user-space", "fabric-manager", "redist-base-url", "debug-info",
	}},
	{"The kernel's source", []string{
		"github-repository", "github-api-url", "github-token", "clone-url", "source", "source-sha256", "source-ref", "source-commit", "source-patches", "full-source",
	}},
	{"The registry", []string{"registry", "registry-mirror", "no-compile", "push", "build-job", "build-job-wait", "host-capture", "registry-ca", "registry-plain-http"}},
	{"Signatures", []string{"signing-key", "signing-cert", "sign-manifest", "sign-manifest-cert", "trust"}},
	{"What may fail", []string{"source-crcs", "strict", "allow"}},
	{"The run", []string{"dry-run", "rebuild", "jobs", "build-timeout", "offline", "retry-pause", "no-wait", "wait"}},
	{"What it says", []string{"output", "log-format", "debug", "quiet", "events", "help", "version"}},
}

// manyFlags is how many a command has whose help shows them in groups.
const manyFlags = 12

// groupedFlags is the part of a command's help that lists its flags.
func groupedFlags(cmd *cobra.Command) string {
	all := pflag.NewFlagSet("", pflag.ContinueOnError)
	all.SortFlags = false
	all.AddFlagSet(cmd.LocalFlags())
	all.AddFlagSet(cmd.InheritedFlags())
	count := 0
	all.VisitAll(func(*pflag.Flag) { count++ })
	if count < manyFlags {
		return "Flags:\n" + all.FlagUsages()
	}
	var b strings.Builder
	shown := map[string]bool{}
	show := func(title string, flags *pflag.FlagSet) {
		if flags.HasFlags() {
			if b.Len() > 0 {
				b.WriteByte('\n')
			}
			fmt.Fprintf(&b, "%s:\n%s", title, flags.FlagUsagesWrapped(100))
		}
	}
	for _, group := range flagGroups {
		flags := pflag.NewFlagSet("", pflag.ContinueOnError)
		flags.SortFlags = false
		for _, name := range group.names {
			if flag := all.Lookup(name); flag != nil {
				flags.AddFlag(flag)
				shown[name] = true
			}
		}
		show(group.title, flags)
	}
	others := pflag.NewFlagSet("", pflag.ContinueOnError)
	others.SortFlags = false
	all.VisitAll(func(flag *pflag.Flag) {
		if !shown[flag.Name] {
			others.AddFlag(flag)
		}
	})
	show("Its own", others)
	return b.String()
}

// usage writes how a command is called: cobra's own, but for the flags.
func usage(cmd *cobra.Command) error {
	var b strings.Builder
	b.WriteString("Usage:")
	if cmd.Runnable() {
		b.WriteString("\n  " + cmd.UseLine())
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n  " + cmd.CommandPath() + " COMMAND [flags]")
	}
	if cmd.HasExample() {
		b.WriteString("\n\nExamples:\n" + cmd.Example)
	}
	if cmd.HasAvailableSubCommands() {
		b.WriteString("\n\nCommands:")
		for _, sub := range cmd.Commands() {
			if sub.IsAvailableCommand() {
				fmt.Fprintf(&b, "\n  %-*s %s", sub.NamePadding(), sub.Name(), sub.Short)
			}
		}
	}
	b.WriteString("\n\n" + groupedFlags(cmd))
	if cmd.HasAvailableSubCommands() {
		fmt.Fprintf(&b, "\n%q tells more of a command.\n", cmd.CommandPath()+" COMMAND --help")
	}
	_, err := io.WriteString(cmd.OutOrStderr(), b.String())
	return err
}

const rootExamples = `  # What a build here would do, and from where:
  docker run --rm -v "$PWD":/opt/share cuda --dry-run

  # For the kernel that a host will run after its next update, without that host:
  docker run --rm -v "$PWD":/opt/share cuda --kernel-image /opt/share/vmlinuz-next --driver-version lts

  # The newest of a line of drivers, for a node that only computes:
  docker run --rm -v "$PWD":/opt/share -v /boot:/host/boot:ro -v /lib/modules:/host/lib/modules:ro cuda --driver-version 580 --modules nvidia,nvidia-uvm`

// helpful gives a program's root command its help, its version, completion of the
// shells and suggestions for what is mistyped.
func helpful(root *cobra.Command) {
	root.Example = rootExamples
	// None of these is a template, by which the program would be a fifth larger: see
	// package matrix' page.
	root.SetUsageFunc(usage)
	help := root.HelpFunc()
	root.SetHelpFunc(func(cmd *cobra.Command, args []string) {
		help(cmd, args)
		fmt.Fprint(cmd.OutOrStdout(), exitCodesHelp)
	})
	root.Version = version()
	root.SetHelpCommand(&cobra.Command{
		Use:   "help [COMMAND]",
		Short: "Tell of a command",
		RunE: func(cmd *cobra.Command, args []string) error {
			about, rest, err := root.Find(args)
			if err != nil || len(rest) > 0 {
				return unknownCommand(root, rest[0])
			}
			about.InitDefaultHelpFlag()
			about.InitDefaultVersionFlag()
			return about.Help()
		},
	})
	root.CompletionOptions.SetDefaultShellCompDirective(cobra.ShellCompDirectiveDefault)
}

// unknownCommand is the error of a name that no command has, with what may have been
// meant.
func unknownCommand(root *cobra.Command, name string) error {
	var names []string
	for _, cmd := range root.Commands() {
		if cmd.IsAvailableCommand() {
			names = append(names, cmd.Name())
		}
	}
	return usageError(root, fmt.Errorf("%q is no command of builder%s", name, meant(name, names, "")))
}

// flagError is the error of a command's options, with what may have been meant by one that
// there is not.
func flagError(cmd *cobra.Command, err error) error {
	if unknown := (*pflag.NotExistError)(nil); errors.As(err, &unknown) {
		var names []string
		cmd.Flags().VisitAll(func(flag *pflag.Flag) {
			if !flag.Hidden {
				names = append(names, flag.Name)
			}
		})
		err = fmt.Errorf("%w%s", err, meant(unknown.GetSpecifiedName(), names, "--"))
	}
	return usageError(cmd, err)
}

// meant asks whether one of some names was meant that are like another, which cobra finds
// among commands; it is empty where there is none, or are too many. They are shown with a
// prefix.
func meant(name string, names []string, prefix string) string {
	const distance = 2
	if len(name) <= distance {
		return "" // any name as short is like it
	}
	among := &cobra.Command{SuggestionsMinimumDistance: distance}
	for _, one := range names {
		among.AddCommand(&cobra.Command{Use: one, Run: func(*cobra.Command, []string) {}})
	}
	similar := among.SuggestionsFor(name)
	if len(similar) == 0 || len(similar) > 3 {
		return ""
	}
	return "; is " + prefix + strings.Join(similar, " or "+prefix) + " meant?"
}
