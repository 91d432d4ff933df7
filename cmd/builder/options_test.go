package main

import (
	"fmt"
	"maps"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/spf13/pflag"

	"github.com/k8sp/cuda/internal/docs"
	"github.com/k8sp/cuda/pkg/job"
	"github.com/k8sp/cuda/pkg/stage"
)

// optionsPage is the page that has each option.
const optionsPage = "docs/options.md"

// TestOptionsPage has the page of the options be what the program has: each option of each
// command, once where a build has the same.
func TestOptionsPage(t *testing.T) {
	t.Parallel()
	root := newRoot(streams{}, defaults{events: new(events)}, new(logOptions))
	root.InitDefaultHelpCmd()
	build, _, err := root.Find([]string{"build"})
	if err != nil {
		t.Fatal(err)
	}
	told := map[string]bool{}
	page := optionPage{notes: optionNotes, used: told}
	docs.Section(t, optionsPage, "commands", page.commands(root))
	docs.Section(t, optionsPage, "build", page.grouped(build))
	docs.Section(t, optionsPage, "others", page.others(root, build))
	for key := range optionNotes {
		if !told[key] {
			t.Errorf("there is a note on %s, which is no option of its own", key)
		}
	}
}

// TestExitCodesPage has the page's exit codes be the program's.
func TestExitCodesPage(t *testing.T) {
	t.Parallel()
	codes := map[int]string{
		stage.ExitDone:        "done, or already done",
		stage.ExitInternal:    "a bug of builder's: please report it",
		stage.ExitInterrupted: "interrupted",
	}
	means := map[stage.Name]string{
		stage.Usage:   "wrong options",
		stage.Detect:  "the host's kernel could not be told, or is not supported",
		stage.Driver:  "no driver package, or a damaged one, or one that is known not to compile against this kernel",
		stage.Source:  "the kernel's source could not be had",
		stage.Prepare: "the source and the host's config do not give the host's kernel",
		stage.Build:   "the driver did not compile",
		stage.Check:   "modules came out that this kernel would not accept",
		stage.Publish: "the result could not be written, or the registry does not have it or cannot be reached",
		stage.Load:    "the driver was not loaded, or is not ready for programs, or was not unloaded",
		stage.Share:   "another run holds the share (`--no-wait`, `--wait`), or another load of this host did not end within 15 minutes",
	}
	for _, name := range stage.Names() {
		if means[name] == "" {
			t.Errorf("what the exit code of %s means is not said", name)
		}
		codes[name.ExitCode()] = "`" + string(name) + "`: " + means[name]
	}
	var b strings.Builder
	b.WriteString("| exit code | |\n|---|---|\n")
	for _, code := range slices.Sorted(maps.Keys(codes)) {
		fmt.Fprintf(&b, "| %d | %s |\n", code, codes[code])
	}
	docs.Section(t, optionsPage, "exit codes", b.String())
}

// TestChecksPage has the page's checks be the program's.
func TestChecksPage(t *testing.T) {
	t.Parallel()
	var b strings.Builder
	b.WriteString("| check | kind | passes where |\n|---|---|---|\n")
	for _, c := range job.Checks() {
		fmt.Fprintf(&b, "| `%s` | %s | %s |\n", c.Name, c.Kind, forTable(c.Doc))
	}
	docs.Section(t, "docs/checks.md", "checks", b.String())
}

// optionPage writes tables of options.
type optionPage struct {
	// notes are what the page says beside an option's usage, by "COMMAND --OPTION"; those
	// that were told are in used.
	notes map[string]string
	used  map[string]bool
}

func (p optionPage) commands(root *cobra.Command) string {
	var b strings.Builder
	b.WriteString("| command | |\n|---|---|\n")
	eachCommand(root, func(cmd *cobra.Command) {
		fmt.Fprintf(&b, "| `%s` | %s |\n", strings.TrimSuffix(strings.TrimPrefix(cmd.UseLine(), root.Name()+" "), " [flags]"), cmd.Short)
	})
	return b.String()
}

// eachCommand visits what does something, in the order of help, without what cobra brings.
func eachCommand(of *cobra.Command, visit func(*cobra.Command)) {
	for _, cmd := range of.Commands() {
		if cmd.Name() == "help" || cmd.Name() == "completion" || cmd.Hidden {
			continue
		}
		if cmd.Runnable() && (!cmd.HasSubCommands() || cmd.HasLocalFlags()) {
			visit(cmd)
		}
		eachCommand(cmd, visit)
	}
}

// grouped are a command's options in the groups that its help has.
func (p optionPage) grouped(cmd *cobra.Command) string {
	var b strings.Builder
	all := optionsOf(cmd)
	for _, group := range flagGroups {
		var rows strings.Builder
		for _, name := range group.names {
			if flag := all[name]; flag != nil {
				rows.WriteString(p.row(cmd.Name(), flag))
				delete(all, name)
			}
		}
		if rows.Len() > 0 {
			fmt.Fprintf(&b, "### %s\n\n%s%s\n", group.title, optionHead, rows.String())
		}
	}
	if len(all) > 0 {
		fmt.Fprintf(&b, "### Others\n\n%s", optionHead)
		for _, name := range slices.Sorted(maps.Keys(all)) {
			b.WriteString(p.row(cmd.Name(), all[name]))
		}
	}
	return strings.TrimSpace(b.String())
}

// others are the commands but build: the options that are not build's, and the names of
// those that are.
func (p optionPage) others(root, build *cobra.Command) string {
	var b strings.Builder
	ofBuild := optionsOf(build)
	eachCommand(root, func(cmd *cobra.Command) {
		if cmd == build {
			return
		}
		var own strings.Builder
		var same []string
		flags := optionsOf(cmd)
		for _, name := range inOrder(flags) {
			flag, known := flags[name], ofBuild[name]
			if root.PersistentFlags().Lookup(name) != nil {
				continue // told once, with build's
			}
			if known != nil && known.Usage == flag.Usage && known.DefValue == flag.DefValue {
				same = append(same, "`--"+name+"`")
			} else {
				own.WriteString(p.row(cmd.Name(), flag))
			}
		}
		fmt.Fprintf(&b, "## %s\n\n", strings.TrimPrefix(cmd.CommandPath(), root.Name()+" "))
		if own.Len() > 0 {
			b.WriteString(optionHead + own.String() + "\n")
		}
		if len(same) > 0 {
			b.WriteString("As of `build`: " + strings.Join(same, ", ") + ".\n\n")
		}
		if own.Len() == 0 && len(same) == 0 {
			b.WriteString("It has no options of its own.\n\n")
		}
	})
	return strings.TrimSpace(b.String())
}

const optionHead = "| option | default | |\n|---|---|---|\n"

// optionsOf are a command's options by name, without help's.
func optionsOf(cmd *cobra.Command) map[string]*pflag.Flag {
	all := map[string]*pflag.Flag{}
	add := func(flag *pflag.Flag) {
		if !flag.Hidden && flag.Name != "help" && flag.Name != "version" {
			all[flag.Name] = flag
		}
	}
	cmd.NonInheritedFlags().VisitAll(add)
	cmd.InheritedFlags().VisitAll(add)
	return all
}

// inOrder are the names of options in the order of help's groups, and then by the alphabet.
func inOrder(flags map[string]*pflag.Flag) []string {
	var names []string
	for _, group := range flagGroups {
		for _, name := range group.names {
			if flags[name] != nil {
				names = append(names, name)
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(flags)) {
		if !slices.Contains(names, name) {
			names = append(names, name)
		}
	}
	return names
}

// saysDefault is where a usage tells of a default that depends on something.
var saysDefault = regexp.MustCompile(` ?\(default:? ([^()]+(?:\([^()]*\)[^()]*)*)\)$`)

func (p optionPage) row(command string, flag *pflag.Flag) string {
	argument, usage := pflag.UnquoteUsage(flag)
	name := "`--" + flag.Name
	if argument != "" && flag.NoOptDefVal == "" {
		name += " " + strings.ReplaceAll(strings.ToUpper(argument), " OR ", " or ")
	}
	name += "`"
	if flag.Shorthand != "" {
		name += ", `-" + flag.Shorthand + "`"
	}
	var standard string
	if says := saysDefault.FindStringSubmatch(usage); says != nil {
		standard, usage = says[1], strings.TrimSuffix(usage, says[0])
	} else {
		standard = plainDefault(flag)
	}
	if !strings.Contains(standard, "`") {
		standard = forTable(standard)
	}
	usage = forTable(usage)
	key := command + " --" + flag.Name
	if note := p.notes[key]; note != "" {
		p.used[key] = true
		usage += ". " + note
	}
	return fmt.Sprintf("| %s | %s | %s |\n", name, standard, usage)
}

// plainDefault is a default as a reader would give it.
func plainDefault(flag *pflag.Flag) string {
	switch value := flag.DefValue; value {
	case "false":
		return "off"
	case "", "[]", "0s":
		return ""
	default:
		if duration, err := strconv.Unquote(value); err == nil {
			value = duration
		}
		return "`" + strings.TrimSuffix(strings.TrimSuffix(value, "0s"), "0m") + "`"
	}
}

// bare are URLs, options, variables and patterns, which a page has as code.
var bare = regexp.MustCompile(`https://[^ ,;)]+|--[a-z][a-z0-9-]+|\b[A-Z]+_[A-Z_]+\b|\*\.[a-z]+\b`)

// forTable is a text that a cell of a table shows as it is.
func forTable(text string) string {
	return bare.ReplaceAllString(strings.ReplaceAll(text, "|", `\|`), "`$0`")
}

// optionNotes are what the page says beside the program's own words.
var optionNotes = map[string]string{
	"build --host-root":           "Where only some of the host's folders are below `/host`, the container's own `/proc` and `/sys` say the rest of the kernel",
	"build --driver-version":      "Of a line, those are passed over that are known to break on this kernel, or do not run this host's GPUs; if all of it breaks in the form that `auto` prefers, it is the newest that builds in the other form and runs them so. Each run chooses anew, so an update of the driver is then NVIDIA's to say. A download is about 0.4 GB",
	"build --driver-releases":     "Where there is none within 10 seconds, and with `--offline`, the choice is among the share's own packages, or else those whose digests `builder` knows",
	"build --driver-sha256":       "The file's; or of an unpacked folder the one that `manifest.json` has. Without it a download has to have the digest that `builder` knows, or else the one that the server has beside it",
	"build --driver-base-url":     "A folder is the container's, by its absolute path; what is in it is held against the same digests",
	"build --driver-patches":      "[Patches for a driver](kernels.md#patches-for-a-driver)",
	"build --kernel-image-sha256": "An image from a URL is then kept, and not fetched again",
	"build --kernel-image-sha512": "That is in the `.DIGESTS` beside its images, whose signature `gpg --verify` holds against [Flatcar's key](https://www.flatcar.org/security/image-signing-key/). An image is kept likewise",
	"build --flatcar":             "Nothing of the machine's own is looked at",
	"build --module-type":         "GPUs before Turing run only with the proprietary modules, Grace Hopper and those from Blackwell on only with the open ones; with a package for vGPU guests it is the proprietary ones where they will do. NVIDIA's installer prefers the open ones since 560",
	"build --user-space":          "`compute` has CUDA, OpenCL, video and `nvidia-smi`",
	"build --fabric-manager":      "[Machines with NVSwitches](loading.md#machines-with-nvswitches)",
	"build --github-token":        "It raises GitHub's rate limit",
	"build --source-sha256":       "One from a server is refused without",
	"build --source-patches":      "[CoreOS's](kernels.md#coreos-container-linux-and-kernels-before-510), for example",
	"build --full-source":         "A build needs an eighth of the files",
	"build --registry":            "[Artefacts](artefact.md)",
	"build --no-compile":          "A node then waits for CI, in place of compiling for itself. The registry is asked first; where it does not answer, what is published in the share for this kernel and driver serves",
	"build --push":                "That is what did not come from there",
	"build --output":              "`env` has lines for CI: `manifest`, `release`, `driver`, `module_type`, `reused` and `artefact`; nothing after a failure",
	"build --build-job":           "[In a cluster](../deploy/kubernetes/README.md)",
	"build --trust":               "[A signed result](signing.md)",
	"build --signing-key":         "This is done as the kernel's own sign-file does it",
	"build --sign-manifest":       "[A signed result](signing.md)",
	"build --source-crcs":         "It takes 1.8 GB of the share, which it says before it starts. [The types are the kernel's](checks.md#the-types-are-the-kernels)",
	"build --strict":              "Nor is a driver package taken then whose digest nobody gave or knows",
	"build --allow":               "[The checks](checks.md#the-checks)",
	"build --offline":             "What an earlier run fetched serves, and what is missing is an error. [An air gap](airgap.md)",
	"build --events":              "Its reason is the failure's [kind](kinds.md). [Events](outside.md#events)",
	"next --listen":               "GET `/next` is answered by a look at the host that began after the question",
	"next --stay":                 "What failed is tried again every ten minutes",
	"next --watched":              "`next watch` may mount then, and this needs no right on the host",
	"load --driver-version":       "One `BUILDER_DRIVER_VERSION` serves this and `build`",
	"load --modules":              "`nvidia-modeset`, `nvidia-drm` and `nvidia-peermem` are what CUDA can do without",
	"load --parameters":           "They come after the [host's own](loading.md#options-of-modules)",
	"load --try-without-device":   "This is for CI",
	"load --allow-failed-gpus":    "The load then ends well, and warns. [GPUs that do not come up](loading.md#gpus-that-do-not-come-up)",
	"load --stay":                 "[Machines with NVSwitches](loading.md#machines-with-nvswitches)",
	"load --metrics":              "Without `--stay` it is refused, and `BUILDER_METRICS` has no effect. [Metrics](outside.md#metrics)",
}
