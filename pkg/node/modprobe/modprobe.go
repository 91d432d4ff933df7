// Package modprobe reads how a host's people want its modules to be loaded: the files
// of modprobe.d(5) and the kernel's command line, as modprobe(8) reads them.
//
// [Read] gives a [Config], which has a module's options, whether it is blacklisted, and
// the command that modprobe runs in its place. What is read and in which order is from
// kmod (libkmod/libkmod.c and libkmod-config.c): of files of one name that of the first
// folder counts, then all in the order of their names, and the command line at last;
// the kernel takes the last of several values of a parameter.
package modprobe

import (
	"maps"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Dirs are the folders with files of modprobe.d(5), relative to a host's root; of two
// files of one name that in the earlier counts.
var Dirs = []string{"etc/modprobe.d", "run/modprobe.d", "usr/local/lib/modprobe.d", "usr/lib/modprobe.d", "lib/modprobe.d"}

// commandLine is what is said to be the source of what the kernel's command line has.
const commandLine = "the kernel's command line"

// Setting is something that is wanted of a module.
type Setting struct {
	// Text is the options, as insmod takes them, or the command.
	Text string
	// From is the file that has it, "/etc/modprobe.d/nvidia.conf", or the kernel's
	// command line.
	From string
}

// Config is what a host's people want.
type Config struct {
	options   map[string][]Setting
	blacklist map[string]string // from where
	install   map[string]Setting
}

// Read reads the configuration of the host that a root shows. What is not there, or
// cannot be read, is not wanted.
func Read(host *kernel.Root) Config {
	c := Config{options: map[string][]Setting{}, blacklist: map[string]string{}, install: map[string]Setting{}}
	dirs := map[string]string{} // by the name of a file
	for _, dir := range Dirs {
		for _, name := range host.List(dir) {
			if _, masked := dirs[name]; !masked && strings.HasSuffix(name, ".conf") && len(name) > len(".conf") && name[0] != '.' {
				dirs[name] = dir
			}
		}
	}
	for _, name := range slices.Sorted(maps.Keys(dirs)) {
		path := dirs[name] + "/" + name
		if text, err := host.ReadFile(path); err == nil { // a link to /dev/null is an empty file
			c.file(string(text), "/"+path)
		}
	}
	c.commandLine(host.Text("proc/cmdline"))
	return c
}

// Options are those of a module, by its name as lsmod has it, in the order in which
// modprobe hands them over.
func (c Config) Options(module string) []Setting { return c.options[module] }

// Blacklisted says from where a module is blacklisted, which is to say that it is not
// to be loaded for a device or an alias of it; "" where it is not.
func (c Config) Blacklisted(module string) string { return c.blacklist[module] }

// Install is the command that modprobe runs in place of loading a module.
func (c Config) Install(module string) (Setting, bool) {
	s, is := c.install[module]
	return s, is
}

// file reads a file's lines.
func (c Config) file(text, from string) {
	for line := range strings.SplitSeq(unwrap(text), "\n") {
		if strings.HasPrefix(line, "#") {
			continue
		}
		command, rest := word(line)
		module, rest := word(rest)
		if module = underscores(module); module == "" {
			continue
		}
		switch {
		case command == "blacklist":
			c.addBlacklist(module, from)
		case command == "options" && rest != "":
			c.options[module] = append(c.options[module], Setting{rest, from})
		case command == "install" && rest != "":
			if _, is := c.install[module]; !is { // modprobe takes the first
				c.install[module] = Setting{rest, from}
			}
		}
	}
}

func (c Config) addBlacklist(module, from string) {
	if c.blacklist[module] == "" {
		c.blacklist[module] = from
	}
}

// unwrap joins lines that a backslash continues, and takes away the backslash of what
// it stands before (shared/util.c, freadline_wrapped).
func unwrap(text string) string {
	var out strings.Builder
	escaped := false
	for _, r := range text {
		switch {
		case escaped:
			if escaped = false; r != '\n' {
				out.WriteRune(r)
			}
		case r == '\\':
			escaped = true
		default:
			out.WriteRune(r)
		}
	}
	return out.String()
}

// word cuts the first word off a line.
func word(line string) (first, rest string) {
	line = strings.TrimLeft(line, "\t ")
	at := strings.IndexAny(line, "\t ")
	if at < 0 {
		return line, ""
	}
	return line[:at], strings.TrimLeft(line[at+1:], "\t ")
}

// underscores is a module's name as lsmod has it.
func underscores(name string) string { return strings.ReplaceAll(name, "-", "_") }

// commandLine reads "MODULE.PARAMETER=VALUE" and "modprobe.blacklist=MODULE,MODULE" of
// the kernel's. A value may be quoted and have spaces then, and so may be the whole.
func (c Config) commandLine(line string) {
	for _, option := range splitQuoted(line) {
		whole := strings.HasPrefix(option, `"`)
		if whole { // as some boot loaders hand it over
			option = strings.TrimSuffix(option[1:], `"`)
		}
		name, value, assigned := strings.Cut(option, "=")
		module, parameter, ok := strings.Cut(name, ".")
		if !ok || module == "" || parameter == "" || strings.ContainsAny(name, `" `) || strings.Contains(parameter, ".") {
			continue
		}
		if module == "modprobe" && parameter == "blacklist" {
			for name := range strings.SplitSeq(value, ",") {
				c.addBlacklist(underscores(name), commandLine)
			}
			continue
		}
		text := parameter
		switch {
		case assigned && whole:
			text += `="` + value + `"`
		case assigned:
			text += "=" + value
		}
		module = underscores(module)
		c.options[module] = append(c.options[module], Setting{text, commandLine})
	}
}

// splitQuoted splits at white space that is not in double quotes.
func splitQuoted(line string) []string {
	quoted := false
	return strings.FieldsFunc(line, func(r rune) bool {
		if r == '"' {
			quoted = !quoted
		}
		return !quoted && strings.ContainsRune(" \n\t\v\f\r", r)
	})
}
