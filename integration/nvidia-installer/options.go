package main

import (
	"fmt"
	"io"
	"strconv"
	"strings"
)

// kind is what an option takes.
type kind int

const (
	flag   kind = iota // nothing
	text               // a string
	number             // an integer
	toggle             // nothing; the same name after no- says the opposite
)

// option is one that the installer of the 535 line knows.
type option struct {
	name  string
	short byte // zero where there is none
	kind  kind
	// help is its description in --advanced-options; one without a
	// description is known but not listed.
	help string
}

const ignored = "Accepted and ignored by the stand-in."

// table has the options of nvidia-installer 535 in its own order, which decides
// between those that share a letter.
var table = []option{
	{"version", 'v', flag, "Print the version and exit."},
	{"help", 'h', flag, "Print this and exit."},
	{"advanced-options", 'A', flag, "Print every option and exit."},
	{"accept-license", 'a', flag, ignored},
	{"driver-info", 'i', flag, ignored},
	{"uninstall", 0, flag, ignored},
	{"skip-module-unload", 0, flag, ignored},
	{"sanity", 0, flag, ignored},
	{"expert", 'e', flag, ignored},
	{"no-questions", 'q', flag, "Ask nothing; the stand-in never asks."},
	{"silent", 's', flag, "Print nothing but errors and warnings."},
	{"x-prefix", 0, text, ignored},
	{"xfree86-prefix", 0, text, ignored},
	{"x-module-path", 0, text, ignored},
	{"x-library-path", 0, text, ignored},
	{"x-sysconfig-path", 0, text, ignored},
	{"opengl-prefix", 0, text, ignored},
	{"opengl-libdir", 0, text, ignored},
	{"wine-prefix", 0, text, ignored},
	{"wine-libdir", 0, text, ignored},
	{"compat32-chroot", 0, text, ignored},
	{"compat32-prefix", 0, text, ignored},
	{"compat32-libdir", 0, text, ignored},
	{"install-compat32-libs", 0, toggle, ignored},
	{"installer-prefix", 0, text, ignored},
	{"utility-prefix", 0, text, ignored},
	{"utility-libdir", 0, text, ignored},
	{"xdg-data-dir", 0, text, ignored},
	{"gbm-backend-dir", 0, text, ignored},
	{"documentation-prefix", 0, text, ignored},
	{"application-profile-path", 0, text, ignored},
	{"kernel-include-path", 0, text, ignored},
	{"kernel-source-path", 0, text, "The kernel source tree."},
	{"kernel-output-path", 0, text, "The output tree prepared from it; the source tree itself if not given."},
	{"kernel-install-path", 0, text, "The folder that the modules are installed into."},
	{"proc-mount-point", 0, text, ignored},
	{"log-file-name", 0, text, "The log file; /var/log/nvidia-installer.log if not given."},
	{"tmpdir", 0, text, ignored},
	{"ui", 0, text, ignored},
	{"no-ncurses-color", 'c', flag, ignored},
	{"no-nvidia-modprobe", 0, flag, ignored},
	{"kernel-name", 'k', text, "The release of the kernel to build for."},
	{"no-precompiled-interface", 'n', flag, ignored},
	{"no-abi-note", 0, flag, ignored},
	{"no-rpms", 0, flag, ignored},
	{"no-backup", 'b', flag, ignored},
	{"no-recursion", 'r', flag, ignored},
	{"kernel-module-only", 'K', flag, ""},
	{"kernel-modules-only", 'K', flag, "Build and install the kernel modules only; the one thing that the stand-in can do."},
	{"no-kernel-module", 0, flag, ""},
	{"no-kernel-modules", 0, flag, ignored},
	{"no-x-check", 0, flag, ignored},
	{"precompiled-kernel-interfaces-path", 0, text, ignored},
	{"no-nouveau-check", 'z', flag, ignored},
	{"disable-nouveau", 'Z', flag, ignored},
	{"run-nvidia-xconfig", 'X', flag, ignored},
	{"force-selinux", 0, text, ignored},
	{"selinux-chcon-type", 0, text, ignored},
	{"no-sigwinch-workaround", 0, flag, ignored},
	{"no-distro-scripts", 0, flag, ignored},
	{"no-opengl-files", 0, flag, ignored},
	{"no-wine-files", 0, flag, ignored},
	{"kernel-module-source-prefix", 0, text, ignored},
	{"kernel-module-source-dir", 0, text, ignored},
	{"no-kernel-module-source", 0, flag, ignored},
	{"dkms", 0, toggle, ignored},
	{"module-signing-secret-key", 0, text, ignored},
	{"module-signing-public-key", 0, text, ignored},
	{"module-signing-script", 0, text, ignored},
	{"module-signing-key-path", 0, text, ignored},
	{"module-signing-hash", 0, text, ignored},
	{"module-signing-x509-hash", 0, text, ignored},
	{"no-check-for-alternate-installs", 0, flag, ignored},
	{"no-unified-memory", 0, flag, "Leave out nvidia-uvm."},
	{"no-drm", 0, flag, "Leave out nvidia-drm."},
	{"no-peermem", 0, flag, "Leave out nvidia-peermem."},
	{"concurrency-level", 'j', number, "How many compilers run at once."},
	{"force-libglx-indirect", 0, flag, ignored},
	{"no-libglx-indirect", 0, flag, ignored},
	{"install-libglvnd", 0, toggle, ignored},
	{"glvnd-egl-config-path", 0, text, ignored},
	{"egl-external-platform-config-path", 0, text, ignored},
	{"override-file-type-destination", 0, text, ignored},
	{"skip-depmod", 0, flag, ignored},
	{"systemd", 0, toggle, ignored},
	{"systemd-unit-prefix", 0, text, ignored},
	{"systemd-sleep-prefix", 0, text, ignored},
	{"systemd-sysconf-prefix", 0, text, ignored},
	{"kernel-module-build-directory", 'm', text, "The folder of the module sources in the package."},
	{"debug", 'd', flag, ""},
	{"help-args-only", 0, flag, ""},
	{"add-this-kernel", 0, flag, ""},
	{"rpm-file-list", 0, text, ""},
	{"no-rpms", 0, flag, ""},
	{"advanced-options-args-only", 0, flag, ""},
	{"no-runlevel-check", 0, flag, ""},
	{"install-vdpau-wrapper", 0, toggle, ""},
	{"no-network", 'N', flag, ""},
	{"force-tls", 0, text, ""},
	{"force-tls-compat32", 0, text, ""},
	{"glvnd-glx-client", 0, toggle, ""},
	{"glvnd-egl-client", 0, toggle, ""},
	{"no-cc-version-check", 0, flag, ""},
}

// common are the options that --help lists too.
var common = map[string]bool{"version": true, "help": true, "advanced-options": true}

// parse reads a command line as the real installer does: an option may have
// one dash or two, its value follows "=" or is the next argument, letters
// without values may stand together, and -j8 means -j 8. A name that occurs
// twice keeps its last value; letters count as the first name they stand for.
func parse(args []string) (map[string]string, error) {
	given := map[string]string{}
	for i := 0; i < len(args); i++ {
		arg := args[i]
		name, ok := strings.CutPrefix(arg, "-")
		if !ok {
			return nil, complain("invalid option: %q", arg)
		}
		name, double := strings.CutPrefix(name, "-")
		name, value, hasValue := strings.Cut(name, "=")
		if name == "" && double && !hasValue {
			return given, nil
		}
		o, negated := find(name)
		if o == nil {
			if letters(name) {
				for _, letter := range []byte(name) {
					given[findLetter(letter).name] = ""
				}
				continue
			}
			if o, value = joined(name); o == nil {
				return nil, complain("unrecognized option: %q", strings.SplitN(arg, "=", 2)[0])
			}
			hasValue = true
		}
		shown, _, _ := strings.Cut(arg, "=")
		switch takes := o.kind == text || o.kind == number; {
		case !takes && hasValue:
			return nil, complain("option %q does not take an argument, but was given an argument of %q.", shown, value)
		case takes && !hasValue:
			if i++; i == len(args) {
				return nil, complain("option %q requires an argument.", shown)
			}
			value = args[i]
		case takes && value == "":
			return nil, complain("option %q requires an argument.", shown)
		}
		if o.kind == number {
			if _, err := strconv.ParseInt(value, 0, 32); err != nil {
				return nil, complain("%q is not a valid argument for option %q.", value, shown)
			}
		}
		if negated {
			value = "no"
		}
		given[o.name] = value
	}
	return given, nil
}

func find(name string) (o *option, negated bool) {
	if len(name) == 1 {
		return findLetter(name[0]), false
	}
	for i := range table {
		if table[i].name == name {
			return &table[i], false
		}
		if table[i].kind == toggle && "no-"+table[i].name == name {
			return &table[i], true
		}
	}
	return nil, false
}

func findLetter(letter byte) *option {
	for i := range table {
		if table[i].short == letter {
			return &table[i]
		}
	}
	return nil
}

// letters tells whether a word is several letters without values.
func letters(word string) bool {
	for _, letter := range []byte(word) {
		if o := findLetter(letter); o == nil || o.kind == text || o.kind == number {
			return false
		}
	}
	return word != ""
}

// joined is a letter that takes a number, and the number that follows it.
func joined(word string) (*option, string) {
	if len(word) < 2 {
		return nil, ""
	}
	if o := findLetter(word[0]); o != nil && o.kind == number {
		if _, err := strconv.Atoi(word[1:]); err == nil {
			return o, word[1:]
		}
	}
	return nil, ""
}

// printOptions writes the options in the real installer's format.
func printOptions(w io.Writer, all bool) {
	for _, o := range table {
		if o.help == "" || !all && !common[o.name] {
			continue
		}
		spelling := "--" + o.name
		argument := strings.ToUpper(o.name)
		takes := o.kind == text || o.kind == number
		if takes {
			spelling += "=" + argument
		}
		switch {
		case o.short != 0 && takes:
			spelling = fmt.Sprintf("-%c %s, %s", o.short, argument, spelling)
		case o.short != 0:
			spelling = fmt.Sprintf("-%c, %s", o.short, spelling)
		}
		if o.kind == toggle {
			spelling += ", --no-" + o.name
		}
		fmt.Fprintf(w, "  %s\n      %s\n\n", spelling, o.help)
	}
}
