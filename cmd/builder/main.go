// Command builder makes NVIDIA kernel modules for exactly the kernel that a
// host runs, from inside a container, and loads them. It is the entrypoint of the cuda image.
//
// This package holds flags, output and exit codes and nothing else; the job
// itself is pkg/job.
package main

import (
	"context"
	"os"
	"os/signal"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/internal/lesser"
	"github.com/k8sp/cuda/pkg/share"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), unix.SIGINT, unix.SIGTERM, unix.SIGHUP)
	code := run(ctx, defaults{lesser: lesser.OwnerOf, plain: share.Plain}, os.Args[1:], os.Environ(), os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
