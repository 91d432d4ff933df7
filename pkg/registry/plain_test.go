package registry

import (
	"net/http"
	"syscall"
	"testing"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/google/go-containerregistry/pkg/v1/remote"
)

// TestRestartOnAPrivateAddress: a registry with TLS that does not answer is waited for, though
// of its address go-containerregistry tries the way without TLS as well, which is refused. One
// that speaks only without is not.
func TestRestartOnAPrivateAddress(t *testing.T) {
	t.Parallel()
	for _, host := range []string{"registry.example.com", "10.0.0.5:5000", "registry.localhost:5000"} {
		for refused, want := range map[error]bool{syscall.ECONNREFUSED: true, http.ErrSchemeMismatch: host == "registry.example.com"} {
			repository, err := name.NewRepository(host + "/cuda")
			if err != nil {
				t.Fatal(err)
			}
			gone := registryOf(func(*http.Request) (*http.Response, error) { return nil, refused })
			_, err = remote.List(repository, remote.WithContext(t.Context()), remote.WithTransport(encrypted{gone}), remote.WithRetryBackoff(remote.Backoff{Steps: 1}))
			if err == nil || Unavailable(err) != want {
				t.Errorf("%s, %v: it is waited for: %t\n%v", host, refused, !want, err)
			}
		}
	}
}
