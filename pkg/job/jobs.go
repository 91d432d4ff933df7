package job

import (
	"context"
	"math"
	"os"
	"path/filepath"
	"runtime"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/progress"
)

// What a build takes of memory at most, in bytes, measured on the driver's largest files:
// all of it with one compiler, and each further compiler.
const (
	memoryOfBuild    = 200e6
	memoryOfCompiler = 150e6
)

// cgroups is where a container sees its own.
const cgroups = "/sys/fs/cgroup"

// jobs is how many compilers run at once: as many as the user says; or one a CPU that the
// container may use, and fewer where its memory would not do for these.
func (o Options) jobs() int {
	if o.Jobs > 0 {
		return o.Jobs
	}
	return min(runtime.GOMAXPROCS(0), jobsIn(memoryLimit(cgroups)))
}

// sayJobs logs that memory, and not the CPUs, limits the compilers.
func (o Options) sayJobs(ctx context.Context) {
	if jobs, cpus := o.jobs(), runtime.GOMAXPROCS(0); o.Jobs == 0 && jobs < cpus {
		zerolog.Ctx(ctx).Info().Int("jobs", jobs).Int("cpus", cpus).Str("memory", progress.Size(memoryLimit(cgroups))).
			Msg("fewer compilers than CPUs, as this container's memory would not do for all; --jobs has others")
	}
}

// jobsIn is how many compilers a limit of memory does for, with a sixth to spare; one at
// least, as fewer build nothing.
func jobsIn(limit uint64) int {
	spare := float64(limit)*5/6 - memoryOfBuild
	return 1 + int(max(0, min(spare/memoryOfCompiler, math.MaxInt32)))
}

// memoryLimit is how many bytes of memory this container may use, by the files of its
// cgroup, whose root is dir: memory.max of version 2, memory.limit_in_bytes of version 1
// (Documentation/admin-guide/cgroup-v2.rst and cgroup-v1/memory.rst of Linux). It is
// MaxUint64 where nothing limits it.
func memoryLimit(dir string) uint64 {
	for _, name := range []string{"memory.max", "memory/memory.limit_in_bytes"} {
		text, err := os.ReadFile(filepath.Join(dir, name))
		if err != nil {
			continue
		}
		if limit, err := strconv.ParseUint(strings.TrimSpace(string(text)), 10, 64); err == nil {
			return limit // version 1 has a huge number where there is none
		}
	}
	return math.MaxUint64 // "max"
}
