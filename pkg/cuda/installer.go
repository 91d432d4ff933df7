package cuda

import (
	"bufio"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/pkg/stage"
)

// options are the long names, without dashes, of the options that a package's
// nvidia-installer lists in its advanced help. An option that it does not know
// is fatal to it, and each line of drivers knows others.
type options map[string]bool

// parseOptions reads the output of nvidia-installer -A. An option begins an
// indented line, its description follows further in:
//
//	-k KERNEL-NAME, --kernel-name=KERNEL-NAME
//	    Build and install the NVIDIA kernel module for the non-running kernel
//	--dkms, --no-dkms
func parseOptions(r io.Reader) (options, error) {
	known := options{}
	lines := bufio.NewScanner(r)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if !strings.HasPrefix(line, "-") {
			continue
		}
		for spelling := range strings.SplitSeq(line, ", ") {
			if long, ok := strings.CutPrefix(spelling, "--"); ok {
				name, _, _ := strings.Cut(long, "=")
				known[name] = true
			}
		}
	}
	return known, lines.Err()
}

// argument is one option of the installer's command line.
type argument struct {
	name, value string
	// local values are paths and numbers of this machine, which change from
	// one run to the next and have no place in a manifest.
	local bool
}

func (a argument) String() string {
	if a.value == "" {
		return "--" + a.name
	}
	return "--" + a.name + "=" + a.value
}

// record is the argument as the manifest shows it: the same for the same
// inputs, wherever they were built.
func (a argument) record() string {
	if a.local {
		return "--" + a.name
	}
	return a.String()
}

// exclusions are the modules that the installer can leave out, each with the
// option for it. None has one for nvidia-modeset, of three files: that is
// compiled and then dropped.
var exclusions = map[string]string{
	"nvidia-uvm":     "no-unified-memory",
	"nvidia-drm":     "no-drm",
	"nvidia-peermem": "no-peermem",
}

// compiledAnyway says whether a module that is to be left out is compiled.
func compiledAnyway(module string) bool { return exclusions[module] == "" }

// helpful are options without which the modules would be the same, but which
// keep the installer from looking at, or asking about, the machine that it
// happens to run on. They are passed to an installer that knows them.
var helpful = []string{
	"accept-license",
	"no-questions",
	"no-precompiled-interface",
	"no-nouveau-check",
	"no-x-check",
	"no-check-for-alternate-installs",
	"no-distro-scripts",
	"no-cc-version-check", // builder chooses the compiler, and says so where it differs
	"no-dkms",
	"no-backup",
	"no-kernel-module-source", // would copy the sources to /usr/src
	"no-rebuild-initramfs",
	"skip-depmod",
	skipModuleLoad,
}

const skipModuleLoad = "skip-module-load"

// compose is the command line of an installer that knows the options known,
// into a workplace.
func compose(known options, d Driver, o BuildOptions, place workplace) ([]argument, error) {
	// Renamed in 515; the old name still works there, but is not listed.
	only := "kernel-modules-only"
	if !known[only] {
		only = "kernel-module-only"
	}
	args := []argument{
		{name: only},
		{name: "silent"},
		{name: "kernel-name", value: o.Release},
		{name: "kernel-source-path", value: o.SourceDir, local: true},
		{name: "kernel-output-path", value: o.OutputDir, local: true},
		{name: "kernel-install-path", value: place.modules(), local: true},
		{name: "log-file-name", value: place.log(), local: true},
	}
	for _, a := range args {
		if !known[a.name] {
			return nil, stage.New(stage.Build,
				fmt.Sprintf("the nvidia-installer of driver %s does not know --%s, without which it cannot build modules for another kernel", d.Version, a.name),
				"choose another driver version with --driver-version")
		}
	}
	for _, name := range helpful {
		if known[name] {
			args = append(args, argument{name: name})
		}
	}
	if known["concurrency-level"] {
		args = append(args, argument{name: "concurrency-level", value: strconv.Itoa(o.jobs()), local: true})
	}
	form, err := formArgument(known, d, o.ModuleType)
	if err != nil {
		return nil, err
	}
	args = append(args, form...)
	excluded, err := exclusionArguments(known, d, o.Exclude, o.ModuleType)
	return append(args, excluded...), err
}

// formArgument says which form of the modules to build, to an installer that
// has a choice: by name since 555.42.02, by folder since 470.42.01. Without
// it, installers decide by the GPUs that they see: since 560, and before where
// they see a Grace Hopper.
func formArgument(known options, d Driver, moduleType string) ([]argument, error) {
	folder := d.SourceDir(moduleType)
	switch {
	case known["kernel-module-type"]:
		return []argument{{name: "kernel-module-type", value: moduleType}}, nil
	case known["kernel-module-build-directory"]:
		return []argument{{name: "kernel-module-build-directory", value: folder}}, nil
	case strings.Trim(d.Manifest.BuildDir, "./") == folder:
		return nil, nil
	}
	return nil, stage.New(stage.Build,
		fmt.Sprintf("the nvidia-installer of driver %s cannot be told to build the %s modules", d.Version, moduleType),
		"leave out --module-type, or choose another driver version")
}

// exclusionArguments leave modules out that the package would otherwise build.
func exclusionArguments(known options, d Driver, exclude []string, moduleType string) ([]argument, error) {
	var args []argument
	for _, module := range slices.Sorted(slices.Values(exclude)) {
		option, ok := exclusions[module]
		if !ok || !slices.Contains(d.Modules(moduleType), module) {
			continue
		}
		if !known[option] {
			return nil, stage.New(stage.Build,
				fmt.Sprintf("the nvidia-installer of driver %s cannot leave out %s", d.Version, module),
				"build it as well, or choose another driver version")
		}
		args = append(args, argument{name: option})
	}
	return slices.Compact(args), nil
}
