// Command hostdocker stands for docker on a Flatcar host, for the commands that the
// project's documents have readers type there. It is the first docker in their PATH,
// and hands what they say to the real one, with this in the place of what a machine that
// runs tests has not:
//
//   - the host: a path of the host's that is mounted is the recorded host's, and has to be
//     mounted where builder looks for it; that host's /proc is in each container;
//   - --privileged: the capabilities that it gives and a build may use;
//   - the network: the machine's own or a registry's, and the lab's server for GitHub;
//   - the image cuda, where its tests call it otherwise. `docker build` of any other, or of
//     another folder than the checkout, is refused, and so is every other command.
//
// All else is the reader's: an option that docker does not have, or builder, fails. How the
// host is comes in the variable HOSTDOCKER, as JSON.
package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
)

func main() {
	err := run()
	fmt.Fprintln(os.Stderr, "docker (stand-in):", err)
	os.Exit(125) // as docker's own errors do
}

// run comes back only if it fails.
func run() error {
	var h host
	if err := json.Unmarshal([]byte(os.Getenv("HOSTDOCKER")), &h); err != nil {
		return fmt.Errorf("HOSTDOCKER: %w", err)
	}
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	argv, err := h.argv(os.Args[1:], dir)
	if err != nil {
		return err
	}
	// The images are built as users' older Docker does: see lab.BuildImage.
	return syscall.Exec(h.Docker, append([]string{"docker"}, argv...), append(os.Environ(), "DOCKER_BUILDKIT=0"))
}

// host is what there is in the place of a Flatcar host.
type host struct {
	Docker   string   // the real client
	Image    string   // which cuda is
	Checkout string   // the folder of which it is built
	Root     string   // with the host's own files
	Folders  []string // the reader's own, of which anything may be mounted anywhere
	Network  string
	Environ  []string // further variables of each container
	Name     string   // begins the containers' names
}

// privileged are those of its capabilities that a build may use: see lab.Builder, which
// has none, and the README.
var privileged = []string{"--cap-add", "SYS_ADMIN", "--cap-add", "SYSLOG"}

// switches are the options of docker run that have no value.
var switches = []string{"--rm", "--init", "--interactive", "-i", "--tty", "-t", "-it", "-ti", "--detach", "-d", "--read-only", "--quiet", "-q"}

func (h host) argv(args []string, dir string) ([]string, error) {
	switch {
	case len(args) > 0 && args[0] == "build":
		return h.build(args[1:], dir)
	case len(args) > 0 && args[0] == "run":
		return h.run(args[1:])
	}
	return nil, fmt.Errorf("docker %s is neither build nor run", strings.Join(args, " "))
}

// build takes the one build that gives the image under test.
func (h host) build(args []string, dir string) ([]string, error) {
	if len(args) != 3 || args[0] != "-t" && args[0] != "--tag" || args[1] != "cuda" || args[2] != "." {
		return nil, fmt.Errorf("docker build %s does not build the image cuda", strings.Join(args, " "))
	}
	if dir != h.Checkout {
		return nil, fmt.Errorf("docker build in %s, and the checkout is %s", dir, h.Checkout)
	}
	return []string{"build", args[0], h.Image, "."}, nil
}

func (h host) run(args []string) ([]string, error) {
	argv := []string{"run", "--rm", "--name", fmt.Sprintf("%s-%d", h.Name, os.Getpid()), "--network", h.Network,
		"-v", filepath.Join(h.Root, "proc") + ":/host/proc:ro"}
	for _, pair := range h.Environ {
		argv = append(argv, "-e", pair)
	}
	for len(args) > 0 && strings.HasPrefix(args[0], "-") {
		option, rest, err := h.option(args)
		if err != nil {
			return nil, err
		}
		argv, args = append(argv, option...), rest
	}
	if len(args) == 0 || args[0] != "cuda" {
		return nil, fmt.Errorf("docker run of %q, and not of the image cuda", args[:min(1, len(args))])
	}
	return append(append(argv, h.Image), args[1:]...), nil
}

// option is the first option of docker run, as it is for this machine, and what comes
// after it. Whether there is such an option the real docker says.
func (h host) option(args []string) (option, rest []string, err error) {
	name, value, joined := strings.Cut(args[0], "=")
	switch {
	case name == "--privileged":
		return privileged, args[1:], nil
	case slices.Contains(switches, name) || joined && name != "--volume":
		return args[:1], args[1:], nil
	case name == "--mount" || strings.HasPrefix(name, "-v") && name != "-v":
		return nil, nil, fmt.Errorf("%s: mounts are written as -v HERE:THERE", args[0])
	case !joined && (len(args) < 2 || strings.HasPrefix(args[1], "-")):
		return args[:1], args[1:], nil // it has no value, and may be no option of docker's
	case !joined:
		value, rest = args[1], args[2:]
	default:
		rest = args[1:]
	}
	if name == "-v" || name == "--volume" {
		if value, err = h.volume(value); err != nil {
			return nil, nil, err
		}
	}
	return []string{name, value}, rest, nil
}

// volume is a mount's HERE:THERE with what HERE is on this machine.
func (h host) volume(value string) (string, error) {
	here, there, _ := strings.Cut(value, ":")
	if slices.ContainsFunc(h.Folders, func(folder string) bool { return here == folder || strings.HasPrefix(here, folder+"/") }) {
		if _, err := os.Stat(here); err != nil {
			return "", err // docker would make a folder of it
		}
		return value, nil
	}
	if !filepath.IsAbs(here) || filepath.Clean(here) != here {
		return "", fmt.Errorf("-v %s: %q is no path of the host's", value, here)
	}
	if _, err := os.Stat(filepath.Join(h.Root, here)); err != nil {
		return "", fmt.Errorf("-v %s: the stand-in for a host has no %s", value, here)
	}
	if there != "/host"+here+":ro" {
		return "", fmt.Errorf("-v %s: builder looks for it at /host%s, and only reads", value, here)
	}
	return filepath.Join(h.Root, here) + ":" + there, nil
}
