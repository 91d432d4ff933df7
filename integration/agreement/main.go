package main

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"syscall"

	"github.com/k8sp/cuda/integration/lab"
)

func main() {
	image := flag.String("image", "cuda", "the image under test, which is built anew")
	var old tree
	flag.StringVar(&old.dir, "tree", "", "the `folder` of a kernel's source of 4.9 to 5.4, whose kernel is asked in the place of all others")
	flag.StringVar(&old.config, "config", "", "the `file` with the config of that kernel (default: a small one)")
	flag.StringVar(&old.driver, "driver", "", "the `folder` of the driver package whose modules it is asked about (default: the tests')")
	flag.Parse()
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	if err := run(ctx, *image, old); err != nil {
		fmt.Fprintln(os.Stderr, "agreement:", err)
		if errors.Is(err, context.Canceled) {
			os.Exit(130)
		}
		os.Exit(1)
	}
}

func run(ctx context.Context, image string, old tree) error {
	l, err := lab.Open(ctx, os.Stderr)
	if err != nil {
		return err
	}
	var subjects []Subject
	if old.dir != "" {
		subjects, err = old.kernels(ctx, l)
	} else {
		subjects, err = kernels(ctx, l, image)
	}
	if err != nil {
		return err
	}
	report, err := compare(ctx, l, subjects)
	if err != nil {
		return err
	}
	if err := report.write(os.Stdout); err != nil {
		return err
	}
	if _, disagree := report.count(); disagree > 0 {
		return fmt.Errorf("the gate and the kernels disagree in %d rows", disagree)
	}
	return nil
}

// compare asks about every kernel, two at a time: a virtual machine has one CPU.
func compare(ctx context.Context, l *lab.Lab, subjects []Subject) (Report, error) {
	report := make(Report, len(subjects))
	errs := make([]error, len(subjects))
	turns := make(chan struct{}, 2)
	var asked sync.WaitGroup
	for i, s := range subjects {
		asked.Go(func() {
			turns <- struct{}{}
			report[i], errs[i] = s.ask(ctx, l)
			<-turns
		})
	}
	asked.Wait()
	return report, errors.Join(errs...)
}
