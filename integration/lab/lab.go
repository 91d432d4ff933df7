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

// Kernel makes the source that the server serves, and nothing but what it is
// made of; so do Driver and Host.
func (l *Lab) Kernel(ctx context.Context) (Kernel, error) {
	from, err := l.ingredients(ctx)
	if err != nil {
		return Kernel{}, err
	}
	return l.kernel(ctx, from)
}

// Driver makes the driver package.
func (l *Lab) Driver(ctx context.Context) (Driver, error) {
	from, err := l.ingredients(ctx)
	if err != nil {
		return Driver{}, err
	}
	return l.driver(ctx, from)
}

// Host makes the root of a recorded CoreOS host.
func (l *Lab) Host(ctx context.Context) (Host, error) {
	from, err := l.ingredients(ctx)
	if err != nil {
		return Host{}, err
	}
	return l.host(ctx, from)
}

// ingredients are the packages that parts are made of, and the image that they
// are made in.
func (l *Lab) ingredients(ctx context.Context) (packages, error) {
	if err := l.ToolsImage(ctx); err != nil {
		return packages{}, err
	}
	return l.packages(ctx)
}

func (l *Lab) parts(ctx context.Context) (Parts, error) {
	from, err := l.ingredients(ctx)
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
