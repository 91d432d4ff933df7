package lab

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"
)

// Server is the running stand-in for GitHub, in a container that shares the
// machine's network and listens on 127.0.0.1.
type Server struct {
	// URL is the base of everything it serves, "http://127.0.0.1:PORT".
	URL  string
	name string
	done chan error
}

// APIURL is the base of GitHub's API, as GitHub Enterprise has it.
func (s *Server) APIURL() string { return s.URL + "/api/v3/" }

// CloneURL is the base of the repositories: CloneURL/OWNER/NAME.git.
func (s *Server) CloneURL() string { return s.URL }

// Repository is the clone URL of "owner/name"; coreos/linux is the kernel's.
func (s *Server) Repository(name string) string { return s.URL + "/" + name + ".git" }

// Environ points builder at the server.
func (s *Server) Environ() []string { return []string{"BUILDER_GITHUB_API_URL=" + s.APIURL()} }

// FaultyURL is the base of an API or of repositories whose every answer is a
// fault: "rate-limit", "not-found", "error" or "garbage".
func (s *Server) FaultyURL(fault string) string { return s.URL + "/fault/" + fault + "/" }

// Serve starts the server. It ends with the context, with Close, and when
// this process does, however that happens.
func (l *Lab) Serve(ctx context.Context, k Kernel) (*Server, error) {
	return l.start(ctx, []string{"--network", "host", "--volume", k.Dir + ":/srv:ro"}, "serve", "-root", "/srv")
}

// SlowNetwork starts what passes connections on to a server of a container's, at HOST:PORT
// there, by rate bytes a second, and breaks each off after so many. It listens on
// loopback in the container's network, and ends as a server of [Lab.Serve] does.
func (l *Lab) SlowNetwork(ctx context.Context, container, server string, rate, cut int) (*Server, error) {
	return l.start(ctx, []string{"--network", "container:" + container}, "relay", "-to", server, "-rate", fmt.Sprint(rate), "-cut", fmt.Sprint(cut))
}

// start runs labtool in a container, with further options of docker run, until it says
// at which URL it listens.
func (l *Lab) start(ctx context.Context, options []string, args ...string) (*Server, error) {
	tool, err := l.labtool(ctx)
	if err != nil {
		return nil, err
	}
	s := &Server{name: ContainerName("server"), done: make(chan error, 1)}
	argv := append([]string{"run", "--rm", "--interactive", "--name", s.name, "--volume", tool + ":/labtool:ro"}, options...)
	cmd := exec.CommandContext(ctx, "docker", append(append(argv, Image, "/labtool"), args...)...)
	cmd.Stderr = os.Stderr
	cmd.Cancel = func() error { Kill(s.name); return nil }
	cmd.WaitDelay = 10 * time.Second
	// The server's stdin is ours to hold: it ends when nobody does.
	if _, err := cmd.StdinPipe(); err != nil {
		return nil, err
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := cmd.Start(); err != nil {
		return nil, fmt.Errorf("start the lab's server: %w", err)
	}
	url, err := bufio.NewReader(stdout).ReadString('\n')
	go func() { s.done <- cmd.Wait() }()
	if err != nil {
		return nil, errors.Join(fmt.Errorf("the lab's server did not start: %w", err), <-s.done)
	}
	s.URL = strings.TrimSpace(url)
	return s, nil
}

// Close ends the server and waits until its container is gone.
func (s *Server) Close() error {
	Kill(s.name)
	<-s.done // its end is by a signal, as we asked
	return nil
}
