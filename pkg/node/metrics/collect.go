package metrics

import (
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/k8sp/cuda/pkg/node"
)

func describe(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

// What is shown.
var (
	builderInfo = describe("cuda_builder_info", "Which builder looks after the driver.", "version")
	driverInfo  = describe("cuda_driver_info", "Which driver the kernel has, and which kernel it is. The form is that of its modules, where they are the share's.", "version", "form", "kernel_release")
	state       = describe("cuda_driver_state", "The state of the driver: ready, or the kind of what keeps it from that, as in docs/kinds.md.", "state")
	checked     = describe("cuda_driver_last_check_timestamp_seconds", "When the state was found out.")
	expected    = describe("cuda_driver_gpus_expected", "GPUs on the host's bus that are for the driver to bring up.")
	up          = describe("cuda_driver_gpus_up", "GPUs that the driver has brought up.")
	failed      = describe("cuda_driver_gpus_failed", "GPUs that do not come up, or compute no more.")
	findings    = describe("cuda_driver_findings", "What the checks of the modules came to when they were built.", "verdict")
	loadTook    = describe("cuda_driver_last_load_duration_seconds", "How long the last load took, also one that found the driver loaded.")
	pullTook    = describe("cuda_driver_last_pull_duration_seconds", "How long the last pull from a registry into the host's share took.")
	pulled      = describe("cuda_driver_last_pull_timestamp_seconds", "When that pull ended.")
	xids        = describe("cuda_driver_xids_total", "Xids that the driver has said in the kernel's log since this builder stays.", "xid", "pci_address")
	readable    = describe("cuda_driver_kernel_log_readable", "Whether the kernel's log, which has the Xids, can be read.")
)

// collector shows the last status that it was told. It is a prometheus.Collector.
type collector struct {
	version string

	mu    sync.Mutex
	known node.Status // with no State where there is none yet
}

// Describe lists all that there may be.
func (c *collector) Describe(to chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{builderInfo, driverInfo, state, checked, expected, up, failed, findings, loadTook, pullTook, pulled, xids, readable} {
		to <- d
	}
}

// Collect gives all that there is.
func (c *collector) Collect(to chan<- prometheus.Metric) {
	c.mu.Lock()
	s := c.known
	c.mu.Unlock()
	gauge := func(d *prometheus.Desc, value float64, labels ...string) {
		to <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, value, plain(labels)...)
	}
	gauge(builderInfo, 1, c.version)
	if s.State == "" {
		return
	}
	gauge(state, 1, s.State)
	gauge(checked, seconds(s.At))
	gauge(loadTook, s.Load.Seconds())
	if s.Driver != "" {
		gauge(driverInfo, 1, s.Driver, s.Form, s.Release)
	}
	if s.GPUs != nil {
		for d, is := range map[*prometheus.Desc]func(node.GPU) bool{
			expected: node.GPU.Expected,
			up:       func(g node.GPU) bool { return g.State == node.GPUUp },
			failed:   func(g node.GPU) bool { return g.State == node.GPUFailed },
		} {
			gauge(d, count(s.GPUs, is))
		}
	}
	for verdict, n := range s.Findings {
		gauge(findings, float64(n), verdict)
	}
	if !s.Pull.At.IsZero() {
		gauge(pullTook, s.Pull.Seconds)
		gauge(pulled, seconds(s.Pull.At))
	}
	if s.Xids == nil {
		return // nobody has listened yet
	}
	gauge(readable, map[bool]float64{true: 1}[s.Deaf == nil])
	for x, n := range s.Xids {
		number, address := strconv.Itoa(x.Number), x.Address
		if x == (node.Xid{}) {
			number, address = "other", "other"
		}
		to <- prometheus.MustNewConstMetric(xids, prometheus.CounterValue, float64(n), plain([]string{number, address})...)
	}
}

func (c *collector) tell(s node.Status) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.known = s
}

func count(gpus []node.GPU, is func(node.GPU) bool) (n float64) {
	for _, g := range gpus {
		if is(g) {
			n++
		}
	}
	return n
}

func seconds(t time.Time) float64 { return float64(t.UnixMilli()) / 1000 }

// plain are values as labels may have them, whatever is in a manifest: Prometheus takes
// nothing but UTF-8.
func plain(values []string) []string {
	const most = 128
	for i, v := range values {
		values[i] = strings.ToValidUTF8(v[:min(len(v), most)], "")
	}
	return values
}
