// Command labtool is what the lab runs inside its own container: it turns a
// kernel source tarball into a git repository, and serves that repository as
// GitHub would. It is a program of its own so that the machine needs neither
// git nor xz.
package main

import (
	"context"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "labtool:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	if len(args) == 0 {
		return fmt.Errorf("usage: labtool fast-import|serve [flags]")
	}
	flags := flag.NewFlagSet(args[0], flag.ContinueOnError)
	switch args[0] {
	case "fast-import":
		tag := flags.String("tag", "v%s", "the tag's `name`, with %s for the tree's version")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return fastImport(os.Stdin, os.Stdout, *tag)
	case "serve":
		root := flags.String("root", "/srv", "the `folder` that holds git/OWNER/NAME.git and files/")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		// The container lives as long as whoever started it holds its stdin.
		ctx, cancel := context.WithCancel(ctx)
		go func() {
			defer cancel()
			_, _ = io.Copy(io.Discard, os.Stdin)
		}()
		return serve(ctx, *root, os.Stdout)
	default:
		return fmt.Errorf("%q is not one of fast-import and serve", args[0])
	}
}
