package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"time"
)

// reference and object are GitHub's JSON, as far as go-github reads it
// (https://docs.github.com/rest/git/refs, …/rest/git/tags).
type reference struct {
	Ref    string `json:"ref"`
	URL    string `json:"url"`
	Object object `json:"object"`
}

type object struct {
	Type string `json:"type"`
	SHA  string `json:"sha"`
	URL  string `json:"url,omitempty"`
}

type tag struct {
	Tag    string `json:"tag"`
	SHA    string `json:"sha"`
	Object object `json:"object"`
}

func (g *git) getRef(w http.ResponseWriter, r *http.Request) {
	name := "refs/" + r.PathValue("ref")
	for _, ref := range g.refs(r, name) {
		if ref.Ref == name {
			reply(w, http.StatusOK, ref)
			return
		}
	}
	notFound(w, r)
}

func (g *git) matchingRefs(w http.ResponseWriter, r *http.Request) {
	found := []reference{} // an empty list, never null
	for _, ref := range g.refs(r, "refs/") {
		if strings.HasPrefix(ref.Ref, "refs/"+r.PathValue("ref")) {
			found = append(found, ref)
		}
	}
	reply(w, http.StatusOK, found)
}

// refs lists a repository's refs at or below name; none where either is unknown.
func (g *git) refs(r *http.Request, name string) []reference {
	out, err := g.run(r, "for-each-ref", "--format=%(refname) %(objecttype) %(objectname)", name)
	if err != nil {
		return nil
	}
	var refs []reference
	for line := range strings.Lines(string(out)) {
		fields := strings.Fields(line)
		refs = append(refs, reference{Ref: fields[0], Object: object{Type: fields[1], SHA: fields[2]}})
	}
	return refs
}

var hexSHA = regexp.MustCompile(`^[0-9a-f]{40}$`)

func (g *git) getTag(w http.ResponseWriter, r *http.Request) {
	sha := r.PathValue("sha")
	out, err := g.run(r, "cat-file", "tag", sha)
	if err != nil || !hexSHA.MatchString(sha) {
		notFound(w, r)
		return
	}
	answer := tag{SHA: sha}
	for line := range strings.Lines(string(out)) {
		switch key, value, _ := strings.Cut(strings.TrimSpace(line), " "); key {
		case "object":
			answer.Object.SHA = value
		case "type":
			answer.Object.Type = value
		case "tag":
			answer.Tag = value
		}
		if line == "\n" {
			break
		}
	}
	reply(w, http.StatusOK, answer)
}

// name is what GitHub allows an owner and a repository to be called; it keeps
// a request inside the folder of repositories.
var name = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]*$`)

func (g *git) run(r *http.Request, args ...string) ([]byte, error) {
	owner, repository := r.PathValue("owner"), r.PathValue("name")
	if !name.MatchString(owner) || !name.MatchString(repository) {
		return nil, fmt.Errorf("%s/%s is no repository", owner, repository)
	}
	dir := filepath.Join(g.dir, owner, repository+".git")
	cmd := exec.CommandContext(r.Context(), "git", append([]string{"--git-dir", dir}, args...)...)
	cmd.Env = append(cmd.Environ(), safe...)
	return cmd.Output()
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json; charset=utf-8")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body) // the client has gone: nobody to tell
}

// failure is GitHub's JSON for an answer that is not one.
type failure struct {
	Message string `json:"message"`
	URL     string `json:"documentation_url"`
	Status  string `json:"status"`
}

func fail(w http.ResponseWriter, status int, message string) {
	reply(w, status, failure{Message: message, URL: "https://docs.github.com/rest", Status: strconv.Itoa(status)})
}

func notFound(w http.ResponseWriter, _ *http.Request) { fail(w, http.StatusNotFound, "Not Found") }

// faulty answers every request as GitHub does on a bad day.
func faulty(w http.ResponseWriter, r *http.Request) {
	switch r.PathValue("kind") {
	case "rate-limit":
		w.Header().Set("X-RateLimit-Limit", "60")
		w.Header().Set("X-RateLimit-Remaining", "0")
		w.Header().Set("X-RateLimit-Reset", strconv.FormatInt(time.Now().Add(time.Hour).Unix(), 10))
		fail(w, http.StatusForbidden, "API rate limit exceeded for 127.0.0.1.")
	case "error":
		fail(w, http.StatusInternalServerError, "Server Error")
	case "garbage":
		w.Header().Set("Content-Type", "text/html")
		fmt.Fprint(w, "<!doctype html><title>Sign in to the guest network</title>")
	default:
		notFound(w, r)
	}
}
