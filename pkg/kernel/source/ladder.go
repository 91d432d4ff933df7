package source

import (
	"cmp"
	"net/http"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/transport"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/k8sp/cuda/internal/download"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/source/needs"
	"github.com/k8sp/cuda/pkg/kernel/source/partial"
	"github.com/k8sp/cuda/pkg/patch"
	"github.com/k8sp/cuda/pkg/stage"
)

const (
	publicAPI  = "https://api.github.com/"
	apiTimeout = 30 * time.Second
)

// ladder is Options with its defaults filled in for one target, and its
// secrets out of its URLs, so that any URL in it may be printed, if it is none of
// Options's.
type ladder struct {
	Options
	release    kernel.Release
	repository string
	refs       []string // full names, the likeliest first
	dir        string
	scratch    string
	api        *url.URL // nil: look refs up at clone
	apiUser    *url.Userinfo
	clone      string
	auth       transport.AuthMethod
	needs      *needs.List
	patched    []string // paths of the files that the patches change
	place      place
}

var ownerAndName = regexp.MustCompile(`^[A-Za-z0-9_][A-Za-z0-9_.-]*/[A-Za-z0-9_.-]+$`)

var (
	commitName = regexp.MustCompile(`^[0-9a-f]{40}$`)
	digestName = regexp.MustCompile(`^[0-9a-f]{64}$`)
)

func newLadder(t kernel.Target, o Options) (*ladder, error) {
	l := &ladder{Options: o, release: t.Release, repository: cmp.Or(o.Repository, repositoryOf(t)), dir: filepath.Clean(o.Dir), scratch: o.Scratch}
	if o.Dir == "" {
		return nil, usage("no folder was given for the kernel source")
	}
	if l.scratch == "" {
		l.scratch = filepath.Dir(l.dir)
	}
	if !ownerAndName.MatchString(l.repository) {
		return nil, usage("%q is not a repository: it has to be owner/name", l.repository)
	}
	if l.Commit != "" && !commitName.MatchString(l.Commit) {
		return nil, usage("%q is not a commit: it has to be all 40 of its hexadecimal digits", l.Commit)
	}
	var err error
	if l.needs, err = needs.For(t.Arch, t.Release); err != nil {
		return nil, stage.Wrap(stage.Source, err, "cannot choose the files of the kernel source", "fetch all of them with --full-source")
	}
	if l.refs, err = refsFor(t.Release, o.Ref); err != nil {
		return nil, err
	}
	if l.SHA256 != "" && !digestName.MatchString(l.SHA256) {
		return nil, usage("%q is not a SHA-256: it has to be 64 hexadecimal digits", l.SHA256)
	}
	l.patched = l.Patches.Files()
	err = l.setFrom()
	if err == nil && l.place == treePlace && len(l.Patches) > 0 {
		err = stage.New(stage.Usage, "a folder that --source names is used as it is, and --source-patches are not applied to it",
			"apply the patches there and leave the option out, or name a git repository or a tarball")
	}
	if err != nil || l.place == tarballPlace || l.place == treePlace {
		return l, err
	}
	return l, l.setURLs()
}

// refsFor are the refs to try: the release's candidates, or what the user
// asked for.
func refsFor(r kernel.Release, asked string) ([]string, error) {
	refs := Candidates(r)
	switch {
	case strings.HasPrefix(asked, "refs/"):
		refs = []string{asked}
	case asked != "":
		refs = []string{tags + asked, heads + asked}
	}
	for _, ref := range refs {
		if err := plumbing.ReferenceName(ref).Validate(); err != nil {
			return nil, usage("%q is not a name that git allows a tag or a branch", strings.TrimPrefix(ref, tags))
		}
	}
	return refs, nil
}

// setURLs fills in the API and the clone URL from what was given of them.
func (l *ladder) setURLs() error {
	base := l.APIURL
	if base == "" {
		base = publicAPI
	}
	api, err := url.Parse(strings.TrimSuffix(base, "/") + "/")
	if err != nil || api.Host == "" || api.Scheme != "http" && api.Scheme != "https" {
		return usage("the API's URL has to be https://HOST/PATH/")
	}
	// A query would be no part of what is asked for, and may be a secret.
	l.apiUser, api.User, api.RawQuery = api.User, nil, ""
	if l.APIURL != "" || l.CloneURL == "" {
		l.api = api
	}
	if l.CloneURL == "" {
		l.clone = cloneBase(api) + l.repository + ".git"
		l.setAuth(l.clone, api, l.apiUser)
		return nil
	}
	clone, err := url.Parse(l.CloneURL)
	if err != nil && isURL(l.CloneURL) {
		// Not shown: what does not parse is often a password.
		return usage("the clone URL is not one; a user or password in it has to be percent-encoded")
	}
	if err != nil {
		// scp's notation, host:path, and plain paths are git's business.
		l.clone = l.CloneURL
		return nil
	}
	user := clone.User
	switch clone.Scheme {
	case "":
		l.clone = l.CloneURL // a path, in which nothing is escaped
	case "file", "git", "ssh":
		// A question mark is part of the path, and no password is sent.
		if _, has := user.Password(); has {
			clone.User = url.User(user.Username())
		}
		l.clone = clone.String()
	default:
		// A query cannot be sent: git's requests have one of their own.
		l.clone = download.Shown(l.CloneURL)
	}
	l.setAuth(l.clone, api, user)
	return nil
}

// cloneBase is where the server of an API keeps its repositories.
func cloneBase(api *url.URL) string {
	if api.Host == "api.github.com" {
		return "https://github.com/"
	}
	// GitHub Enterprise serves its API under /api/v3/ of the git host.
	base := *api
	base.Path = strings.TrimSuffix(base.Path, "api/v3/")
	return base.String()
}

// setAuth chooses what the git server at clone is told: what its URL said, or
// the token where the server belongs to the API that the token is for.
func (l *ladder) setAuth(clone string, api *url.URL, user *url.Userinfo) {
	if !strings.HasPrefix(clone, "http://") && !strings.HasPrefix(clone, "https://") {
		return
	}
	if user != nil {
		password, _ := user.Password()
		l.auth = &githttp.BasicAuth{Username: user.Username(), Password: password}
		return
	}
	if l.Token != "" && strings.HasPrefix(clone, cloneBase(api)) {
		// The name is GitHub's convention for a token over HTTPS.
		l.auth = &githttp.BasicAuth{Username: "x-access-token", Password: l.Token}
	}
}

// wants says whether a build needs a file of the source, or a patch changes it.
func (l *ladder) wants(name string) bool {
	return l.Full || l.needs.Match(name) || slices.Contains(l.patched, name)
}

// patchesOf are the names and digests of the ladder's patches.
func (l *ladder) patchesOf() (list []Patch) {
	for _, p := range l.Patches {
		list = append(list, Patch{p.Name, p.SHA256})
	}
	return list
}

// patch applies the patches to what was checked out at dir, whose index then has them as
// `git add` would.
func (l *ladder) patch(dir string) error {
	if len(l.Patches) == 0 {
		return nil
	}
	if err := l.Patches.Apply(dir, patch.Kernel); err != nil {
		return err
	}
	return partial.Stage(dir, l.patched)
}

// rungOf says which rung a ref of the ladder belongs to.
func (l *ladder) rungOf(ref string) string {
	if ref == upstreamTag(l.release) {
		return RungUpstream
	}
	return RungTag
}

// httpClient is the client for the API: the caller's or one that gives up on
// a server that hangs, with credentials for the API's host alone.
func (l *ladder) httpClient() *http.Client {
	client := http.Client{Timeout: apiTimeout}
	if l.HTTPClient != nil {
		client = *l.HTTPClient
	}
	client.Transport = &apiTransport{base: client.Transport, host: l.api.Host, token: l.Token, user: l.apiUser}
	return &client
}
