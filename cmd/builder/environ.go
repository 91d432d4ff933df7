package main

import (
	"fmt"
	"slices"
	"strings"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"
)

const environPrefix = "BUILDER_"

// environName is the environment variable that stands for a flag.
func environName(flag string) string {
	return environPrefix + strings.ToUpper(strings.ReplaceAll(flag, "-", "_"))
}

// flagsFromEnviron sets every flag that the command line left alone from its
// variable. An empty variable is an unset one: `docker run -e NAME=` and
// optional values of a Kubernetes manifest make those.
func flagsFromEnviron(flags *pflag.FlagSet, environ []string) error {
	values := make(map[string]string)
	for _, entry := range environ {
		if name, value, _ := strings.Cut(entry, "="); strings.HasPrefix(name, environPrefix) && value != "" {
			values[name] = value
		}
	}
	var err error
	flags.VisitAll(func(flag *pflag.Flag) {
		name := environName(flag.Name)
		value, set := values[name]
		if !set || flag.Changed || err != nil {
			return
		}
		if of, ok := flag.Value.(*output); ok && output(value) == env {
			value = of.String() // it is meant for the commands that have that form
		}
		if setErr := flags.Set(flag.Name, value); setErr != nil {
			err = fmt.Errorf("invalid value for %s: %w", name, setErr)
		}
		flag.Annotations = map[string][]string{environPrefix: {name}}
	})
	return err
}

// fromEnviron says whether a flag was set by its variable, which may be meant for another
// command: one environment serves several.
func fromEnviron(flag *pflag.Flag) bool { return flag.Annotations[environPrefix] != nil }

// unknownVariables lists the BUILDER_ variables that stand for no flag of any
// command, so that a misspelt one is not ignored in silence. They are no
// error: Kubernetes sets BUILDER_SERVICE_HOST where a service has our name.
func unknownVariables(root *cobra.Command, environ []string) []string {
	known := make(map[string]bool)
	for _, cmd := range append(root.Commands(), root) {
		cmd.Flags().VisitAll(func(flag *pflag.Flag) { known[environName(flag.Name)] = true })
	}
	root.PersistentFlags().VisitAll(func(flag *pflag.Flag) { known[environName(flag.Name)] = true })
	var unknown []string
	for _, entry := range environ {
		if name, _, _ := strings.Cut(entry, "="); strings.HasPrefix(name, environPrefix) && !known[name] {
			unknown = append(unknown, name)
		}
	}
	slices.Sort(unknown)
	return unknown
}
