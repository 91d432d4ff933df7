package job

import (
	"time"

	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel/source"
)

// Options are what a user can say about a build. The zero value of every
// field is the default of its flag, but for Share, Builder and Runner.
type Options struct {
	// Share is the folder that holds the driver package and receives the
	// modules: /opt/share in the image.
	Share string
	// HostRoot is the host root to build for: a folder, or a tar that
	// Capture wrote. Empty takes /host where it is mounted, else /.
	HostRoot string
	// Source says where kernel source comes from. The folders in it are
	// filled in by the job.
	Source source.Options
	// DriverVersion is the driver to build; empty is the newest there is.
	DriverVersion string
	// ModuleType is "proprietary", "open" or "auto"; empty is "auto".
	ModuleType string
	// Exclude names modules that the user does without.
	Exclude []string
	// Jobs is how many compilers run at once; 0 is one a CPU of the
	// container's quota.
	Jobs int
	// BuildTimeout is how long the installer may run; 0 is an hour.
	BuildTimeout time.Duration
	// NoWait refuses, instead of waiting, while another build holds the
	// share.
	NoWait bool
	// Strict makes a failure of every check that could not be made here.
	Strict bool
	// Allow names checks whose failure is recorded but does not stop the job.
	Allow []string
	// Builder is this program's version, for the manifest.
	Builder string
	// Runner runs kbuild and the installer.
	Runner command.Runner
}
