package nextkernel

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/k8sp/cuda/pkg/stage"
)

// Stay has an agent work until the context ends, and answer at an address, HOST:PORT, if
// there is one. Where no folder of a watcher's is named, it watches as well.
func Stay(ctx context.Context, o Options, address string) error {
	watches := o.Watch.Dir == ""
	if watches {
		dir, err := os.MkdirTemp("", "staged-")
		if err != nil {
			return stage.Wrap(stage.Detect, err, "there is no space to capture the next kernel", "make the container's /tmp writable")
		}
		defer os.RemoveAll(dir)
		o.Watch.Dir = dir
	}
	a := NewAgent(o)
	work := []func(context.Context) error{func(ctx context.Context) error { a.Run(ctx); return nil }}
	if watches {
		work = append(work, func(ctx context.Context) error { return Watch(ctx, o.Watch) })
	}
	if address != "" {
		listener, err := net.Listen("tcp", address)
		if err != nil {
			return stage.Wrap(stage.Usage, err, "nobody can be answered", "name an address that is free, as :9711, with --listen")
		}
		work = append(work, func(ctx context.Context) error { return a.serve(ctx, listener) })
	}
	return together(ctx, work)
}

// together does work until all of it has ended. The first that fails ends the rest.
func together(ctx context.Context, work []func(context.Context) error) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	ends := make(chan error)
	for _, do := range work {
		go func() { ends <- do(ctx) }()
	}
	var err error
	for range work {
		ended := <-ends
		cancel()
		err = errors.Join(err, ended)
	}
	return err
}

// serve answers at a listener until the context ends. Whoever can reach it may ask, so it
// waits for nobody, and reads no more than a question.
func (a *Agent) serve(ctx context.Context, l net.Listener) error {
	server := &http.Server{
		Handler: a, ReadTimeout: 5 * time.Second, WriteTimeout: wait + 5*time.Second, IdleTimeout: 30 * time.Second, MaxHeaderBytes: 8 << 10,
	}
	go func() {
		<-ctx.Done()
		_ = server.Close()
	}()
	if err := server.Serve(l); !errors.Is(err, http.ErrServerClosed) {
		return stage.Wrap(stage.Publish, err, fmt.Sprintf("nobody is answered at %s any more", l.Addr()), "look at the cause, and begin again")
	}
	return nil
}
