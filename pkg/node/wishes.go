package node

import (
	"context"
	"path"
	"slices"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/node/modprobe"
)

// readWishes reads what the host's people want of modules, by modprobe.d(5) and the
// kernel's command line.
func (i *insertion) readWishes(ctx context.Context) {
	i.wishes = modprobe.Read(i.host)
	if !i.host.Exists(modprobe.Dirs[0]) {
		zerolog.Ctx(ctx).Info().Str("next", "where the host has options for NVIDIA's modules there, add -v /etc/modprobe.d:/host/etc/modprobe.d:ro to docker run, or give them with --parameters").
			Msg("the host's modprobe.d is not to be seen: of options, those on the kernel's command line and in --parameters are set")
	}
}

// leaveUnwanted leaves out what the host's people do not want, where it may be left out,
// with what needs it; of what CUDA cannot do without it says whether it is loaded all
// the same.
func (i *insertion) leaveUnwanted(ctx context.Context) []Finding {
	log := zerolog.Ctx(ctx)
	i.leaveOut(ctx, "it is blacklisted on this host, or is not to be loaded", func(e modules.Entry) bool {
		_, kept := i.keptOut(e.Name)
		return kept || i.wishes.Blacklisted(e.Name) != ""
	})
	var found []Finding
	for _, e := range i.entries {
		if command, kept := i.keptOut(e.Name); kept {
			found = append(found, KeptOut.Of(command.From, command.Text, e.Name))
		} else if command.Text != "" {
			log.Warn().Str("module", e.Name).Str("command", command.Text).Str("from", command.From).
				Msg("modprobe would run a command of this host's in place of loading this module; it is not run, and the module is loaded")
		}
		for _, s := range i.wishes.Options(e.Name) {
			log.Info().Str("module", e.Name).Str("options", s.Text).Str("from", s.From).Msg("options of this host's")
		}
		if from := i.wishes.Blacklisted(e.Name); from != "" {
			log.Info().Str("module", e.Name).Str("from", from).Msg("blacklisted, which keeps modprobe from loading it for a device; it is loaded, as that was asked for")
		}
	}
	return found
}

// keptOut is the command that modprobe runs in place of loading a module; it keeps the
// module out where it does nothing.
func (i *insertion) keptOut(module string) (command modprobe.Setting, kept bool) {
	command, is := i.wishes.Install(module)
	if !is {
		return modprobe.Setting{}, false
	}
	program, _, _ := strings.Cut(command.Text, " ")
	return command, slices.Contains([]string{"false", "true", ":"}, path.Base(strings.TrimRight(program, ";")))
}

// options are those that a module is loaded with: the host's and then those that were
// asked for, as the kernel takes the last of several values.
func (i *insertion) options(module string) string {
	var all []string
	for _, s := range i.wishes.Options(module) {
		all = append(all, s.Text)
	}
	if asked := i.asked[module]; asked != "" {
		all = append(all, asked)
	}
	return strings.Join(all, " ")
}
