package partial

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"

	"github.com/go-git/go-git/v5/plumbing"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/capability"
	"github.com/go-git/go-git/v5/plumbing/protocol/packp/sideband"
	"github.com/go-git/go-git/v5/plumbing/transport"
	"github.com/go-git/go-git/v5/plumbing/transport/client"
	githttp "github.com/go-git/go-git/v5/plumbing/transport/http"

	"github.com/k8sp/cuda/internal/gitpack"
	"github.com/k8sp/cuda/internal/progress"
	"github.com/k8sp/cuda/internal/retry"
)

// errUnknown is the server's refusal to give an object by its name.
var errUnknown = errors.New("the server does not give it by its name")

// link is a repository on a git server.
type link struct {
	o       *Options
	task    *progress.Task // counts what is received; nil: nobody looks
	watch   *watch
	session transport.UploadPackSession
	can     *capability.List
	refs    map[string]plumbing.Hash
}

// dial returns a link that is open.
func dial(ctx context.Context, o *Options) (*link, error) {
	l := &link{o: o}
	return l, l.open(ctx)
}

// open asks the server what it can and has, unless it was asked.
func (l *link) open(ctx context.Context) error {
	if l.session != nil {
		return nil
	}
	l.watch = newWatch(l.o)
	endpoint, err := transport.NewEndpoint(l.o.URL)
	if err != nil {
		return err
	}
	session, err := l.start(endpoint)
	if err != nil {
		return err
	}
	refs, err := session.AdvertisedReferencesContext(ctx)
	if err != nil {
		return l.explain(err)
	}
	l.session, l.can, l.refs = session, refs.Capabilities, refs.References
	return nil
}

func (l *link) start(endpoint *transport.Endpoint) (transport.UploadPackSession, error) {
	switch endpoint.Protocol {
	case "file":
		return openMirror(endpoint.Path)
	case "http", "https":
		return githttp.NewClient(&http.Client{Transport: l.watch}).NewUploadPackSession(endpoint, l.o.Auth)
	}
	server, err := client.NewClient(endpoint)
	if err != nil {
		return nil, err
	}
	return server.NewUploadPackSession(endpoint, l.o.Auth)
}

// explain says why there is no sense in an answer: the connection's failure,
// where there was one, or an answer that ends too early, as one does whose git
// was stopped. Go-git tells neither from one that never made sense.
func (l *link) explain(err error) error {
	var hidden *plumbing.UnexpectedError // which does not unwrap
	if errors.As(err, &hidden) {
		err = hidden.Err
	}
	err = l.watch.explain(err)
	if l.watch.cutShort() && !Temporary(err) {
		return &retry.Temporary{Err: fmt.Errorf("the answer ends too early: %w", err)}
	}
	return err
}

func (l *link) close() {
	if l.session != nil {
		_ = l.session.Close() // nothing was written through it
		l.session = nil
	}
}

// request is what is asked for in one go.
type request struct {
	wants []plumbing.Hash
	// shallow asks for commits without their history, and lean for no blobs
	// but those that are named.
	shallow, lean bool
	salvage       bool
	each          func(gitpack.Object) error
}

// fetch stores the pack that answers the request below dir.
func (l *link) fetch(ctx context.Context, dir string, r request) error {
	if err := l.open(ctx); err != nil {
		return err
	}
	response, err := l.session.UploadPack(ctx, l.wish(r))
	if err != nil {
		if ctx.Err() == nil && strings.Contains(err.Error(), "not our ref") {
			return fmt.Errorf("%w: %w", errUnknown, err)
		}
		return l.explain(err)
	}
	defer response.Close()
	_, err = gitpack.Store(ctx, dir, l.demultiplex(l.task.Reader(response)), gitpack.Options{
		Limits: limits, Each: r.each, Salvage: r.salvage,
	})
	if errors.Is(err, gitpack.ErrBrokenOff) || errors.Is(err, gitpack.ErrStream) && l.watch.cutShort() && !saidByGit(err) {
		err = &retry.Temporary{Err: err}
	}
	if !strings.HasPrefix(l.o.URL, "http") {
		l.close() // other transports answer once
	}
	return l.watch.explain(err)
}

// saidByGit says whether an error is the server's own word, and not the end of
// what it said.
func saidByGit(err error) bool { return strings.Contains(err.Error(), "unexpected error: ") }

// wish is the request as git's protocol has it.
func (l *link) wish(r request) *packp.UploadPackRequest {
	wish := packp.NewUploadPackRequestFromCapabilities(l.can)
	wish.Wants = r.wants
	set := func(c capability.Capability) { _ = wish.Capabilities.Set(c) } // fails for those with arguments only
	if r.shallow {
		wish.Depth = packp.DepthCommits(1)
		set(capability.Shallow)
	}
	if r.lean {
		wish.Filter = packp.FilterBlobNone()
		set(capability.Filter)
	}
	if l.task == nil && l.can.Supports(capability.NoProgress) {
		set(capability.NoProgress)
	}
	return wish
}

func (l *link) demultiplex(r io.Reader) io.Reader {
	kind := sideband.Sideband64k
	switch {
	case l.can.Supports(capability.Sideband64k):
	case l.can.Supports(capability.Sideband):
		kind = sideband.Sideband
	default:
		return r
	}
	d := sideband.NewDemuxer(kind, r)
	if l.task != nil {
		d.Progress = l.task.Notes()
	}
	return d
}
