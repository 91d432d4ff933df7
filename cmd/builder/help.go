package main

import (
	"fmt"
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

const usageTemplate = `Usage:{{if .Runnable}}
  {{.UseLine}}{{end}}{{if .HasAvailableSubCommands}}
  {{.CommandPath}} COMMAND [flags]{{end}}{{if .HasExample}}

Examples:
{{.Example}}{{end}}{{if .HasAvailableSubCommands}}

Commands:{{range .Commands}}{{if .IsAvailableCommand}}
  {{rpad .Name .NamePadding}} {{.Short}}{{end}}{{end}}{{end}}

{{flags .}}{{if .HasAvailableSubCommands}}
"{{.CommandPath}} COMMAND --help" tells more of a command.
{{end}}`

const rootExamples = `  # What a build here would do, and from where:
  docker run --rm -v "$PWD":/opt/share cuda --dry-run

  # For the kernel that a host will run after its next update, without that host:
  docker run --rm -v "$PWD":/opt/share cuda --kernel-image /opt/share/vmlinuz-next --driver-version lts

  # The newest of a line of drivers, for a node that only computes:
  docker run --rm -v "$PWD":/opt/share -v /boot:/host/boot:ro -v /lib/modules:/host/lib/modules:ro cuda --driver-version 580 --modules nvidia,nvidia-uvm`

func init() { cobra.AddTemplateFunc("flags", groupedFlags) } // of all commands there are

// helpful gives a program's root command its help, its version, completion of the
// shells and suggestions for what is mistyped.
func helpful(root *cobra.Command) {
	root.Example = rootExamples
	root.SetUsageTemplate(usageTemplate)
	root.SetHelpTemplate(root.HelpTemplate() + exitCodesHelp)
	root.Version = version()
	root.SetVersionTemplate("{{.Name}} {{.Version}}\n")
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
	reason := fmt.Sprintf("%q is no command of builder", name)
	if root.SuggestionsMinimumDistance == 0 {
		root.SuggestionsMinimumDistance = 2
	}
	if similar := root.SuggestionsFor(name); len(similar) > 0 {
		reason += "; is " + strings.Join(similar, " or ") + " meant?"
	}
	return usageError(root, fmt.Errorf("%s", reason))
}
