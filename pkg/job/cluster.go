package job

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"time"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cluster"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/registry"
	"github.com/k8sp/cuda/pkg/stage"
)

// fromCluster has the cluster build for a kernel what the registry has not, where that is asked
// for, and returns once it is there; elsewhere says that it is the cluster, and not this host,
// which builds. The share is not held meanwhile.
func (s site) fromCluster(ctx context.Context, b *brackets, t kernel.Target) (elsewhere bool, err error) {
	// What a Job makes, this host's key has not signed.
	if s.Cluster.Template == "" || s.dry || s.ownWishes() != "" || s.notary != nil {
		return false, nil
	}
	ctx = b.enter(ctx, stage.Publish)
	defer b.leave()
	log := zerolog.Ctx(ctx)
	key, err := s.wantedKey(t)
	if err != nil {
		return false, err
	}
	// Those of another build of this kernel, or of another form, would have this host compile.
	if found, err := modules.Find(s.share, t.Release.Full, s.DriverVersion, nil); err == nil && keyOf(found.Manifest) == key {
		log.Info().Msg("no Job is asked to build: there are such modules in the share")
		return false, nil
	}
	if there, err := s.inRegistry(ctx, key); there || err != nil {
		return true, err
	}
	capture, err := s.pushCapture(ctx, key)
	if err != nil {
		return false, err
	}
	request := cluster.Request{Name: jobName(key), Key: s.Registry.Repository + ":" + key.Tag(), Args: []string{
		"build", "--registry=" + s.Registry.Repository, "--push", "--host-capture=" + capture, "--driver-version=" + s.DriverVersion, "--module-type=" + key.Form,
	}}
	if s.FabricManager != "" && s.FabricManager != FabricAuto {
		// A node that wants it takes no artefact without it.
		request.Args = append(request.Args, "--fabric-manager="+s.FabricManager)
	}
	return true, cluster.Build(ctx, s.Cluster, request, func(ctx context.Context) (bool, error) {
		_, err := registry.Find(ctx, s.Registry, key)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, registry.ErrNone):
			return false, nil
		case ctx.Err() != nil:
			return false, err
		}
		// It may restart meanwhile, as the API server may.
		log.Warn().Err(err).Msg("the registry does not answer; looking again")
		return false, nil
	})
}

// inRegistry says whether the registry has what a key is of. One that does not answer is
// waited for, for as long as a Job is: while it restarts a fleet is not to compile on each
// of its nodes.
func (s site) inRegistry(ctx context.Context, key registry.Key) (bool, error) {
	pause := cmp.Or(s.Cluster.Pause, 5*time.Second)
	for end := time.Now().Add(cmp.Or(s.Cluster.Wait, time.Hour)); ; {
		_, err := registry.Find(ctx, s.Registry, key)
		switch {
		case err == nil:
			return true, nil
		case errors.Is(err, registry.ErrNone):
			return false, nil
		case !registry.Unavailable(err) || time.Now().After(end):
			return false, err
		}
		zerolog.Ctx(ctx).Warn().Err(err).Msg("the registry does not answer; looking again")
		select {
		case <-ctx.Done():
			return false, ctx.Err()
		case <-time.After(pause/2 + rand.N(pause)): // nodes that began together do not stay so
		}
	}
}

// pushCapture leaves this host's capture in the registry: the Job may run where there is no
// GPU, and no such kernel.
func (s site) pushCapture(ctx context.Context, key registry.Key) (tag string, err error) {
	scratch, err := os.MkdirTemp("", "capture-")
	if err != nil {
		return "", stage.Wrap(stage.Publish, err, "there is no space for a capture of this host", "make the container's /tmp writable")
	}
	defer os.RemoveAll(scratch)
	return registry.PushCapture(ctx, s.Registry, key, func(w io.Writer) error { return s.Host.capture(ctx, w) }, scratch)
}

// rightCapture refuses a capture that is of another kernel than its tag says: whoever may
// push can have put it there.
func (s site) rightCapture(t kernel.Target) error {
	if s.Host.Capture == "" {
		return nil
	}
	if is := keyFor(t, "", "").CaptureTag(); is != s.Host.Capture {
		return stage.New(stage.Detect, fmt.Sprintf("the capture %s is of another kernel than its tag says, which would be %s", s.Host.Capture, is),
			"delete this tag from the registry, and find out who pushed it: a node then pushes its own")
	}
	return nil
}

// jobName is the name of the Job that builds for a key: what a label may be (RFC 1123, 63
// characters), and of another key another.
func jobName(k registry.Key) string {
	sum := sha256.Sum256([]byte(k.Tag()))
	return fmt.Sprintf("cuda-build-%s", hex.EncodeToString(sum[:])[:20])
}
