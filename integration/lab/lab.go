package lab

import (
	"context"
	"errors"
	"sync"
)

// Parts are what a run of the job is given.
type Parts struct {
	Kernel Kernel
	Driver Driver
	Host   Host
}

// Make makes all parts that the cache lacks, and the base images.
func (l *Lab) Make(ctx context.Context) (Parts, error) {
	var parts Parts
	err := together(
		func() error { return l.BaseImages(ctx) },
		func() (err error) { parts, err = l.parts(ctx); return err },
	)
	return parts, err
}

func (l *Lab) parts(ctx context.Context) (Parts, error) {
	if err := l.ToolsImage(ctx); err != nil {
		return Parts{}, err
	}
	from, err := l.packages(ctx)
	if err != nil {
		return Parts{}, err
	}
	var parts Parts
	err = together(
		func() (err error) { parts.Kernel, err = l.kernel(ctx, from); return err },
		func() (err error) {
			if parts.Driver, err = l.driver(ctx, from); err != nil {
				return err
			}
			parts.Host, err = l.host(ctx, from)
			return err
		},
	)
	return parts, err
}

// together runs functions side by side and returns what failed.
func together(run ...func() error) error {
	errs := make([]error, len(run))
	var wg sync.WaitGroup
	for i, f := range run {
		wg.Go(func() { errs[i] = f() })
	}
	wg.Wait()
	return errors.Join(errs...)
}
