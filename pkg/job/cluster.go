package job

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/cluster"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/registry"
)

// fromCluster has the cluster build for a kernel what the registry has not, and brings it
// from there. Found is false where this host has the same already, and so builds nothing.
func (s site) fromCluster(ctx context.Context, t kernel.Target) (result Result, found bool, err error) {
	log := zerolog.Ctx(ctx)
	if _, err := modules.Find(s.share, t.Release.Full, s.DriverVersion, nil); err == nil {
		log.Info().Msg("no Job is asked to build: there are such modules in the share")
		return Result{}, false, nil
	}
	form, err := cuda.Prefer(s.ModuleType, cuda.Package{Version: s.DriverVersion}, cuda.GPUs(t.PCI))
	if err != nil {
		return Result{}, true, err
	}
	key := keyFor(t, s.DriverVersion, form.Type)
	// The Job may run where there is no GPU, and no such kernel.
	capture, err := registry.PushCapture(ctx, s.Registry, key, func(w io.Writer) error { return Capture(ctx, s.Host.Root, w) }, s.scratch)
	if err != nil {
		return Result{}, true, err
	}
	request := cluster.Request{Name: jobName(key), Key: s.Registry.Repository + ":" + key.Tag(), Args: []string{
		"build", "--registry=" + s.Registry.Repository, "--push", "--host-capture=" + capture, "--driver-version=" + s.DriverVersion, "--module-type=" + form.Type,
	}}
	err = cluster.Build(ctx, s.Cluster, request, func(ctx context.Context) (bool, error) {
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
	if err != nil {
		return Result{}, true, err
	}
	result, err = s.pull(ctx, t)
	return result, true, err
}

// jobName is the name of the Job that builds for a key: what a label may be (RFC 1123, 63
// characters), and of another key another.
func jobName(k registry.Key) string {
	sum := sha256.Sum256([]byte(k.Tag()))
	return fmt.Sprintf("cuda-build-%s", hex.EncodeToString(sum[:])[:20])
}
