package main

import (
	"bytes"
	"context"
	_ "embed"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/integration/lab"
	"github.com/k8sp/cuda/pkg/modules"
)

var (
	//go:embed scripts/depth1.sh
	depth1Script string
	//go:embed scripts/sparse.sh
	sparseScript string
	//go:embed scripts/classic.sh
	classicScript string
)

// kbuildAndInstaller are the programs that builder starts for the two stages
// whose time is not its own.
const kbuildAndInstaller = "make,nvidia-installer"

// step measures one thing in an empty share.
type step func(ctx context.Context, share string, m measurements) error

// order is that of a turn: another one each time, so that nothing always comes
// after the same. The first job comes before the first classic script, which is
// given the host's exports as it found them.
func (b *bench) order(turn int) []step {
	checkouts := []step{b.source, b.depth1, b.sparse, b.gogit}
	first := turn % len(checkouts)
	order := append(checkouts[first:len(checkouts):len(checkouts)], checkouts[:first]...)
	if turn%2 == 1 {
		return append(order, b.classic, b.job)
	}
	order = append(order, b.job, b.classic)
	if turn == 0 {
		order = append(order, b.matrix) // as long as all the others
	}
	return order
}

// turn measures everything once, builder and what it is held against one after
// the other, each in a share of its own that is gone afterwards, and with
// nothing left to be written to the disk by the one before.
func (b *bench) turn(ctx context.Context, turn int, m measurements) error {
	for _, step := range b.order(turn) {
		share, err := os.MkdirTemp(b.dir, "share-")
		if err != nil {
			return err
		}
		if err := step(ctx, share, m); err != nil {
			return err
		}
		if err := b.remove(ctx, share); err != nil {
			return err
		}
		unix.Sync()
	}
	return nil
}

func (b *bench) source(ctx context.Context, share string, m measurements) error {
	before := b.relay.bytes()
	first, err := b.time(ctx, b.builder(share, b.host, "source"))
	if err != nil {
		return err
	}
	m.add(sourceTime, first.Seconds)
	m.add(sourceMemory, float64(first.PeakBytes))
	m.add(sourceBytes, b.relay.bytes()-before)
	m.add(sourceDisk, float64(lab.DiskUse(filepath.Join(share, "linux"))))
	second, err := b.time(ctx, b.builder(share, b.other, "source"))
	if err != nil {
		return err
	}
	m.add(secondTime, second.Seconds)
	return nil
}

func (b *bench) depth1(ctx context.Context, share string, m measurements) error {
	before := b.relay.bytes()
	took, err := b.time(ctx, b.script(share, depth1Script))
	if err != nil {
		return err
	}
	m.add(depth1Time, took.Seconds)
	m.add(depth1Bytes, b.relay.bytes()-before)
	m.add(depth1Disk, float64(lab.DiskUse(filepath.Join(share, "linux"))))
	return nil
}

func (b *bench) sparse(ctx context.Context, share string, m measurements) error {
	took, err := b.time(ctx, b.script(share, sparseScript))
	if err == nil {
		m.add(sparseTime, took.Seconds)
	}
	return err
}

func (b *bench) gogit(ctx context.Context, share string, m measurements) error {
	took, err := b.time(ctx, b.run(share, "/bench/gogit", b.url, b.tag, "/opt/share/linux"))
	if err == nil {
		m.add(gogitMemory, float64(took.PeakBytes))
	}
	return err
}

func (b *bench) job(ctx context.Context, share string, m measurements) error {
	if err := os.Mkdir(filepath.Join(share, "cuda"), 0o755); err != nil {
		return err
	}
	if err := lab.CopyFile(b.driver.Run, filepath.Join(share, "cuda", filepath.Base(b.driver.Run))); err != nil {
		return err
	}
	// Somebody vouches for the package, as for NVIDIA's: what it asked of the kernel then
	// serves the next one.
	cold := b.build(share)
	cold.Environ = append(cold.Environ, "BUILDER_DRIVER_SHA256="+b.digests[b.driver.Version])
	first, err := b.time(ctx, cold)
	if err != nil {
		return err
	}
	m.add(jobTime, first.Seconds)
	m.add(jobMemory, float64(first.PeakBytes))
	m.add(ownTime, first.Seconds-first.ChildSeconds)
	checked, err := stageSeconds(first.log, "check")
	if err != nil {
		return err
	}
	m.add(checkTime, checked)
	built, err := stageSeconds(first.log, "build")
	if err != nil {
		return err
	}
	m.add(stageTime, built)
	again, err := b.time(ctx, cold)
	if err != nil {
		return err
	}
	m.add(rerunTime, again.Seconds)
	if err := b.fleet(ctx, share, m); err != nil {
		return err
	}
	if err := b.next(ctx, share, m); err != nil {
		return err
	}
	found, err := filepath.Glob(filepath.Join(share, ".builder/prepared/*/Module.symvers"))
	if err != nil {
		return err
	}
	if len(found) != 1 {
		return fmt.Errorf("the job has prepared %d trees, not one", len(found))
	}
	return lab.CopyFile(found[0], b.symvers())
}

// next builds the next driver of the line in the share that the job has left.
func (b *bench) next(ctx context.Context, share string, m measurements) error {
	driver := b.nextOnes[0]
	run := b.build(share)
	run.Docker = append(run.Docker, "-v", filepath.Dir(driver.Folder)+":/next:ro")
	run.Environ = append(run.Environ, "BUILDER_DRIVER_BASE_URL=/next", "BUILDER_DRIVER_VERSION="+driver.Version, "BUILDER_DRIVER_SHA256="+b.digests[driver.Version])
	took, err := b.time(ctx, run)
	if err != nil {
		return err
	}
	built, err := stageSeconds(took.log, "build")
	if err == nil {
		m.add(nextStageTime, built)
	}
	return err
}

// matrix builds the three drivers for both kernels, from an empty share.
func (b *bench) matrix(ctx context.Context, share string, m measurements) error {
	if err := os.Mkdir(filepath.Join(share, "cuda"), 0o755); err != nil {
		return err
	}
	drivers := append([]lab.Driver{b.driver}, b.nextOnes...)
	kernels := []lab.Host{b.host, b.other}
	run := b.build(share)
	var file strings.Builder
	file.WriteString("kernels:\n")
	for i, host := range kernels {
		fmt.Fprintf(&file, "- {name: %q, host-root: /hosts/%d}\n", host.Release, i)
		run.Docker = append(run.Docker, "-v", fmt.Sprintf("%s:/hosts/%d:ro", host.Dir, i))
	}
	file.WriteString("drivers:\n")
	for _, driver := range drivers {
		fmt.Fprintf(&file, "- {driver-version: %q, driver-sha256: %q, module-type: proprietary}\n", driver.Version, b.digests[driver.Version])
	}
	if err := os.WriteFile(filepath.Join(share, "matrix.yaml"), []byte(file.String()), 0o644); err != nil {
		return err
	}
	if err := lab.CopyFile(b.driver.Run, filepath.Join(share, "cuda", filepath.Base(b.driver.Run))); err != nil {
		return err
	}
	run.HostRoot = ""
	run.Args[len(run.Args)-1] = "matrix"
	run.Args = append(run.Args, "/opt/share/matrix.yaml")
	run.Docker = append(run.Docker, "-v", filepath.Dir(b.nextOnes[0].Folder)+":/next:ro")
	run.Environ = append(run.Environ, "BUILDER_DRIVER_BASE_URL=/next")
	took, err := b.time(ctx, run)
	if err == nil {
		m.add(cellTime, took.Seconds/float64(len(kernels)*len(drivers)))
	}
	return err
}

// symvers is what the job found out of the host's exports, for the classic script.
func (b *bench) symvers() string { return filepath.Join(b.dir, "Module.symvers") }

func (b *bench) classic(ctx context.Context, share string, m measurements) error {
	run := b.script(share, classicScript)
	run.Docker = append(run.Docker, "-v", b.driver.Folder+":/driver:ro", "-v", b.symvers()+":/Module.symvers:ro")
	took, err := b.time(ctx, run)
	if err == nil {
		m.add(classicTime, took.Seconds)
	}
	return err
}

// builder is a run of builder, as the image runs it.
func (b *bench) builder(share string, host lab.Host, command string) lab.Builder {
	run := b.run(share, "-children", kbuildAndInstaller, "/usr/local/bin/builder", command)
	run.HostRoot = host.Dir
	run.Environ = []string{"BUILDER_GITHUB_API_URL=" + b.relay.url() + "/api/v3/"}
	return run
}

// build is the job. The host's type information is that of another kernel, whose
// differences take as long to find as there being none.
func (b *bench) build(share string) lab.Builder {
	run := b.builder(share, b.host, "build")
	run.Environ = append(run.Environ, "BUILDER_LOG_FORMAT=json", "BUILDER_ALLOW="+modules.LayoutCheck+","+modules.PrototypesCheck)
	return run
}

// stageSeconds is how long a stage took, by builder's log.
func stageSeconds(log, stage string) (float64, error) {
	for line := range strings.Lines(log) {
		var said struct {
			Stage, Message string
			Seconds        float64
		}
		if json.Unmarshal([]byte(line), &said) == nil && said.Stage == stage && said.Message == "finished" {
			return said.Seconds, nil
		}
	}
	return 0, fmt.Errorf("the log does not say how long the stage %s took:\n%s", stage, log)
}

// script is a run of one of the scripts, which share their names for things.
func (b *bench) script(share, script string) lab.Builder {
	names := fmt.Sprintf("URL=%s\nTAG=%s\nCOMPILER=%s\nRELEASE=%s\n", b.url, b.tag, b.compiler, b.host.Release)
	return b.run(share, "/bin/bash", "-euo", "pipefail", "-c", names+script)
}

// run is a run of the stopwatch.
func (b *bench) run(share string, args ...string) lab.Builder {
	return lab.Builder{
		Image: b.image, Share: share, HostRoot: b.host.Dir, Name: lab.ContainerName("bench"),
		Docker: []string{"--entrypoint", "/bench/stopwatch", "-v", b.programs + ":/bench:ro", "-v", b.patterns + ":/patterns:ro"},
		Args:   args,
	}
}

// taken is what the stopwatch says.
type taken struct {
	Seconds      float64 `json:"seconds"`
	PeakBytes    int64   `json:"peak_bytes"`
	ChildSeconds float64 `json:"child_seconds"`
	log          string
}

func (b *bench) time(ctx context.Context, run lab.Builder) (taken, error) {
	var stdout, stderr bytes.Buffer
	run.Stdout, run.Stderr = &stdout, &stderr
	code, err := run.Run(ctx)
	if err != nil {
		return taken{}, err
	}
	if code != 0 {
		return taken{}, fmt.Errorf("%v ended with exit code %d\n%s", run.Argv(), code, stderr.Bytes())
	}
	var t taken
	if err := json.Unmarshal(stdout.Bytes(), &t); err != nil {
		return taken{}, fmt.Errorf("the stopwatch printed %q: %w", stdout.String(), err)
	}
	t.log = stderr.String()
	return t, nil
}
