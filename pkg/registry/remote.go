package registry

import (
	"cmp"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"strings"
	"time"

	"github.com/google/go-containerregistry/pkg/authn"
	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
	"github.com/google/go-containerregistry/pkg/v1/remote/transport"

	"github.com/k8sp/cuda/internal/retry"
	"github.com/k8sp/cuda/pkg/stage"
)

// Options say where artefacts are and how they are reached. Credentials are those of
// Docker's config, ~/.docker/config.json or $DOCKER_CONFIG, and of its helpers.
type Options struct {
	// Repository is where they are: "registry.example.com/cuda".
	Repository string
	// Mirrors are repositories that may have the same, for who pulls to ask first: [Find]
	// asks none of them, and what is pushed goes to none.
	Mirrors []string
	// CA names a file of certificates that are trusted beside the system's to vouch for
	// the registry; empty is none.
	CA string
	// PlainHTTP speaks HTTP without TLS. Where the registry is on loopback it is spoken
	// anyway.
	PlainHTTP bool
	// Pause is how long to wait before the second try of what failed for the moment; zero means
	// a second.
	Pause time.Duration
	// Space is asked before a layer is downloaded, with its bytes; its error ends that. Nil
	// does not ask.
	Space func(bytes int64) error
}

// FailedKind is the kind of failure of a registry that cannot be reached, or lets nobody in.
const FailedKind = "registry"

// ErrNone is that there is no such artefact.
var ErrNone = errors.New("there is no such artefact")

// Check says whether the options make sense. Its error is of the usage stage.
func (o Options) Check() error {
	for _, repository := range append([]string{o.Repository}, o.Mirrors...) {
		at := o
		at.Repository = repository
		if _, err := at.repository(); err != nil {
			return err
		}
	}
	return nil
}

func (o Options) repository() (name.Repository, error) {
	options := []name.Option{name.StrictValidation}
	if o.PlainHTTP {
		options = append(options, name.Insecure)
	}
	if at, digest, found := strings.Cut(o.Repository, "@"); found && strings.HasPrefix(digest, "sha256:") {
		return name.Repository{}, stage.New(stage.Usage, o.Repository+" is an artefact, and builder finds those by the kernel and the driver",
			"name the repository alone, "+at+"; who is to take only what you have built names its signer with --trust")
	}
	r, err := name.NewRepository(o.Repository, options...)
	return r, stage.Wrap(stage.Usage, err, fmt.Sprintf("%q is no repository of a registry", o.Repository),
		"name one as HOST[:PORT]/PATH, such as registry.example.com/cuda")
}

// remote are what each of go-containerregistry's calls is told.
func (o Options) remote(ctx context.Context) ([]remote.Option, error) {
	base, err := o.base()
	return []remote.Option{
		remote.WithContext(ctx), remote.WithAuthFromKeychain(authn.DefaultKeychain), remote.WithUserAgent(userAgent), remote.WithTransport(base),
		remote.WithRetryBackoff(remote.Backoff{Duration: cmp.Or(o.Pause, time.Second), Factor: 3, Jitter: 0.1, Steps: 3}),
	}, err
}

const userAgent = "k8sp-cuda-builder"

// transport makes requests of one's own to a repository, for what go-containerregistry
// cannot ask for, as who may pull from it.
func (o Options) transport(ctx context.Context, repository name.Repository) (http.RoundTripper, error) {
	base, err := o.base()
	if err != nil {
		return nil, err
	}
	auth, err := authn.Resolve(ctx, authn.DefaultKeychain, repository)
	if err != nil {
		return nil, err
	}
	return transport.NewWithContext(ctx, repository.Registry, auth, transport.NewUserAgent(base, userAgent), []string{repository.Scope(transport.PullScope)})
}

// base speaks TLS with a registry, which is vouched for by those who are trusted to.
func (o Options) base() (http.RoundTripper, error) {
	if o.CA == "" {
		return o.guarded(remote.DefaultTransport), nil // whose connections serve who looks again and again
	}
	text, err := os.ReadFile(o.CA)
	if err != nil {
		return nil, stage.Wrap(stage.Usage, err, "the certificates that the registry is to be known by cannot be read", "correct --registry-ca")
	}
	pool, err := x509.SystemCertPool()
	if err != nil {
		pool = x509.NewCertPool()
	}
	if !pool.AppendCertsFromPEM(text) {
		return nil, stage.New(stage.Usage, o.CA+" has no certificates in PEM", "correct --registry-ca")
	}
	base := remote.DefaultTransport.(*http.Transport).Clone()
	base.TLSClientConfig = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12}
	return o.guarded(base), nil
}

func (o Options) guarded(base http.RoundTripper) http.RoundTripper {
	if o.PlainHTTP {
		return patient{base}
	}
	return encrypted{patient{base}}
}

// errPlain is the end of what would have gone over a network as it is, with who asks.
var errPlain = errors.New("it is spoken with without TLS, which --registry-plain-http allows")

// encrypted is a transport that speaks HTTP without TLS on loopback only. By itself
// go-containerregistry does so with private addresses, too, where TLS does not answer at once.
type encrypted struct{ base http.RoundTripper }

func (e encrypted) RoundTrip(request *http.Request) (*http.Response, error) {
	host := request.URL.Hostname()
	if request.URL.Scheme != "https" && host != "localhost" && !net.ParseIP(host).IsLoopback() {
		return nil, errPlain
	}
	return e.base.RoundTrip(request)
}

// explain is what a registry's failure means to people.
func (o Options) explain(err error, what string) error {
	var answer *transport.Error
	hint := "check the network and its proxy, and run again"
	if strings.Contains(err.Error(), "config file") && errors.As(err, new(*json.SyntaxError)) {
		return stage.OfKind(FailedKind, stage.Wrap(stage.Publish, err, what, `correct Docker's config.json: it is JSON, such as {"auths": {"HOST": {"auth": "…"}}}, as docker login leaves it`))
	}
	if errors.As(err, &answer) {
		switch answer.StatusCode {
		case http.StatusUnauthorized, http.StatusForbidden:
			hint = "have Docker's config, ~/.docker/config.json or that in the folder DOCKER_CONFIG, say who you are there (docker login); a container needs it mounted: -v $HOME/.docker/config.json:/root/.docker/config.json:ro"
		case http.StatusNotFound:
			hint = "look whether the registry has the repository " + o.Repository
		case http.StatusRequestEntityTooLarge, http.StatusInsufficientStorage:
			hint = "make room in the registry"
		default:
			hint = "look at the registry's own log, and run again"
		}
	}
	return stage.OfKind(FailedKind, stage.Wrap(stage.Publish, err, what, retry.Hint(err, hint)))
}

// missing says whether a registry's answer is that there is no such thing.
func missing(err error) bool {
	var answer *transport.Error
	return errors.As(err, &answer) && answer.StatusCode == http.StatusNotFound
}

// Unavailable says whether an error is that a registry does not answer, or cannot for the
// moment: looking again may have another answer. Whom nobody vouches for stays so.
func Unavailable(err error) bool {
	plain := errors.Is(err, errPlain)
	// Of an address that may be without TLS, both ways were tried: the one with it counts.
	if tried := (*url.Error)(nil); plain && errors.As(err, &tried) {
		plain = errors.Is(tried.Err, errPlain) || errors.Is(tried.Err, http.ErrSchemeMismatch)
	}
	if errors.As(err, new(*tls.CertificateVerificationError)) || plain || errors.Is(err, context.Canceled) {
		return false
	}
	var answer *transport.Error
	if errors.As(err, &answer) {
		return answer.Temporary() || answer.StatusCode == http.StatusTooManyRequests || answer.StatusCode >= http.StatusInternalServerError
	}
	var network net.Error
	return errors.As(err, &network)
}
