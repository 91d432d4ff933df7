// Command labtool is what the lab runs inside its own container: it turns a
// kernel source tarball into a git repository, and serves that repository as
// GitHub would; and it is a bad network before a server. It is a program of its own
// so that the machine needs neither git nor xz.
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
		return fmt.Errorf("usage: labtool fast-import|serve|relay [flags]")
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
		return serve(whileHeld(ctx), *root, os.Stdout)
	case "relay":
		var network slowNetwork
		flags.StringVar(&network.server, "to", "127.0.0.1:5000", "the server's `address`")
		flags.Int64Var(&network.rate, "rate", 30e6, "how many `bytes` a second each connection brings")
		flags.Int64Var(&network.cut, "cut", 30e6, "after how many `bytes` a connection breaks off")
		if err := flags.Parse(args[1:]); err != nil {
			return err
		}
		return network.relay(whileHeld(ctx), os.Stdout)
	default:
		return fmt.Errorf("%q is not one of fast-import, serve and relay", args[0])
	}
}

// whileHeld is a context that ends when nobody holds the program's stdin any more: a
// container lives as long as whoever started it.
func whileHeld(ctx context.Context) context.Context {
	ctx, cancel := context.WithCancel(ctx)
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin)
	}()
	return ctx
}
