package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"

	"github.com/k8sp/cuda/integration/lab"
)

// committed is the file that is a part of the project.
const committed = "BENCHMARKS.md"

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		if errors.Is(err, context.Canceled) {
			os.Exit(130)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context) error {
	runs := flag.Int("runs", enoughRuns, "`number` of turns whose medians are taken")
	file := flag.String("o", committed, "`file` to write, in the checkout")
	flag.Parse()
	l, err := lab.Open(ctx, os.Stderr)
	if err != nil {
		return err
	}
	machine, err := describeMachine(ctx)
	if err != nil {
		return err
	}
	b, err := setUp(ctx, l)
	if err != nil {
		return err
	}
	defer b.close()
	m := measurements{}
	for i := range *runs {
		fmt.Fprintf(os.Stderr, "bench: turn %d of %d\n", i+1, *runs)
		if err := b.turn(ctx, i, m); err != nil {
			return err
		}
	}
	if err := measureImages(ctx, l, m); err != nil {
		return err
	}
	machine.git = b.git
	table, err := fill(m)
	if err != nil {
		return err
	}
	text := report{machine: machine, runs: *runs, parts: b.describe(), table: table}.markdown()
	fmt.Print(text)
	if *runs < enoughRuns && *file == committed {
		fmt.Fprintf(os.Stderr, "bench: %s is for %d turns and more, and stays as it is; -o names another file\n", committed, enoughRuns)
		return nil
	}
	return os.WriteFile(filepath.Join(l.Checkout, *file), []byte(text), 0o644)
}
