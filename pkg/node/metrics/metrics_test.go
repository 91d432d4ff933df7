package metrics

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil/promlint"
	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/pkg/node"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

// serve answers until the test ends.
func serve(t *testing.T) *Server {
	t.Helper()
	s, err := Listen("127.0.0.1:0", "1.2 (sha256:0a)")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(zerolog.Nop().WithContext(t.Context()))
	done := make(chan struct{})
	go func() { defer close(done); s.Serve(ctx) }()
	t.Cleanup(func() { stop(); <-done })
	return s
}

func (s *Server) get(t *testing.T, path string) (code int, text string) {
	t.Helper()
	answer, err := http.Get("http://" + s.listener.Addr().String() + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(body)
}

// samples are a text's lines without what describes them.
func samples(text string) (list []string) {
	for line := range strings.Lines(text) {
		if !strings.HasPrefix(line, "#") {
			list = append(list, strings.TrimSpace(line))
		}
	}
	return list
}

// whole is a status with something of all that there may be.
var whole = node.Status{
	State: "gpu-failed", Err: errors.New("x"), At: time.Unix(1790000000, 500e6), Driver: "580.126.09", Release: "6.12.102-flatcar", Form: "open",
	Findings: map[string]int{"passed": 40, "failed": 0, "overridden": 1, "not-checkable": 3, "not-asked": 2},
	GPUs:     []node.GPU{{State: node.GPUUp}, {State: node.GPUUp}, {State: node.GPUFailed}, {State: node.GPUUntried}, {State: node.GPUElsewhere}},
	Load:     2500 * time.Millisecond, Pull: share.Pull{Seconds: 7.25, At: time.Unix(1789990000, 0)},
	Xids: map[node.Xid]int{{Address: "0000:65:00.0", Number: 79}: 1, {Address: "0000:65:00.0", Number: 31}: 12, {}: 3},
}

// TestMetrics: what is known is shown, and nothing else, by names as Prometheus has them.
func TestMetrics(t *testing.T) {
	t.Parallel()
	s := serve(t)
	const builder = `cuda_builder_info{version="1.2 (sha256:0a)"} 1`
	show := func(status node.Status, want ...string) {
		t.Helper()
		s.Tell(status)
		code, text := s.get(t, "/metrics")
		if diff := cmp.Diff(append([]string{builder}, want...), samples(text)); diff != "" || code != http.StatusOK {
			t.Errorf("%d (-want +got):\n%s", code, diff)
		}
		problems, err := promlint.New(strings.NewReader(text)).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("%v, %v", problems, err)
		}
	}
	show(node.Status{}) // it is being loaded
	show(whole,
		`cuda_driver_findings{verdict="failed"} 0`, `cuda_driver_findings{verdict="not-asked"} 2`, `cuda_driver_findings{verdict="not-checkable"} 3`,
		`cuda_driver_findings{verdict="overridden"} 1`, `cuda_driver_findings{verdict="passed"} 40`,
		`cuda_driver_gpus_expected 4`, `cuda_driver_gpus_failed 1`, `cuda_driver_gpus_up 2`,
		`cuda_driver_info{form="open",kernel_release="6.12.102-flatcar",version="580.126.09"} 1`,
		`cuda_driver_kernel_log_readable 1`, `cuda_driver_last_check_timestamp_seconds 1.7900000005e+09`, `cuda_driver_last_load_duration_seconds 2.5`,
		`cuda_driver_last_pull_duration_seconds 7.25`, `cuda_driver_last_pull_timestamp_seconds 1.78999e+09`,
		`cuda_driver_state{state="gpu-failed"} 1`,
		`cuda_driver_xids_total{pci_address="0000:65:00.0",xid="31"} 12`, `cuda_driver_xids_total{pci_address="0000:65:00.0",xid="79"} 1`, `cuda_driver_xids_total{pci_address="other",xid="other"} 3`,
	)
	show(node.Status{State: "not-loaded", At: time.Unix(1, 0), Release: "6.1.0", Xids: map[node.Xid]int{}, Deaf: errors.New("EPERM")},
		`cuda_driver_kernel_log_readable 0`, `cuda_driver_last_check_timestamp_seconds 1`, `cuda_driver_last_load_duration_seconds 0`, `cuda_driver_state{state="not-loaded"} 1`)
	// Somebody else's driver, with a version that nobody can have meant.
	show(node.Status{State: node.StateReady, At: time.Unix(1, 0), Driver: "1\xff" + strings.Repeat("2", 200), Release: "6.1.0", GPUs: []node.GPU{}},
		`cuda_driver_gpus_expected 0`, `cuda_driver_gpus_failed 0`, `cuda_driver_gpus_up 0`,
		`cuda_driver_info{form="",kernel_release="6.1.0",version="1`+strings.Repeat("2", 126)+`"} 1`,
		`cuda_driver_last_check_timestamp_seconds 1`, `cuda_driver_last_load_duration_seconds 0`, `cuda_driver_state{state="ready"} 1`)
}

// TestServer answers to nothing else, and holds its own against who sends nothing.
func TestServer(t *testing.T) {
	t.Parallel()
	s := serve(t)
	for path, want := range map[string]int{"/metrics": 200, "/": 404, "/metrics/x": 404, "/debug/pprof/": 404} {
		if code, _ := s.get(t, path); code != want {
			t.Errorf("%s: %d, want %d", path, code, want)
		}
	}
	answer, err := http.Post("http://"+s.listener.Addr().String()+"/metrics", "text/plain", strings.NewReader("x"))
	if err != nil {
		t.Fatal(err)
	}
	_ = answer.Body.Close()
	if answer.StatusCode != http.StatusMethodNotAllowed {
		t.Errorf("POST: %d", answer.StatusCode)
	}
	silent, err := net.Dial("tcp", s.listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer silent.Close()
	fmt.Fprint(silent, "GET /metrics HTTP/1.1\r\n")
	began := time.Now()
	_ = silent.SetReadDeadline(began.Add(forHeaders + forRequest))
	if _, err := io.ReadAll(silent); err != nil || time.Since(began) > forHeaders+forRequest/2 {
		t.Errorf("who sends no more is heard for %s: %v", time.Since(began), err)
	}
}

// TestListen tells what is no address from one that cannot be had.
func TestListen(t *testing.T) {
	t.Parallel()
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	for address, kind := range map[string]string{
		"19500": "usage", "": "usage", "127.0.0.1": "usage", "127.0.0.1:http": "usage", "127.0.0.1:99999": "usage", "fd00::1:19500": "usage",
		taken.Addr().String(): FailedKind, "203.0.113.7:19500": FailedKind,
	} {
		s, err := Listen(address, "")
		if err == nil {
			_ = s.listener.Close()
		}
		if got := stage.KindOf(err); err == nil || got != kind {
			t.Errorf("%q: %v, of the kind %q, want %q", address, err, got, kind)
		}
	}
}

// TestMetricsAreDocumented: docs/outside.md has each metric, and no other.
func TestMetricsAreDocumented(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile("../../../docs/outside.md")
	if err != nil {
		t.Fatal(err)
	}
	has, documented := map[string]bool{}, map[string]bool{}
	descs := make(chan *prometheus.Desc)
	go func() { defer close(descs); new(collector).Describe(descs) }()
	for d := range descs {
		has[regexp.MustCompile(`fqName: "([a-z_]+)"`).FindStringSubmatch(d.String())[1]] = true
	}
	for row := range strings.Lines(string(text)) {
		first, _, _ := strings.Cut(strings.TrimPrefix(row, "| "), " | ")
		if strings.HasPrefix(row, "| `cuda_") {
			for _, name := range regexp.MustCompile("`([a-z_]+)`").FindAllStringSubmatch(first, -1) {
				documented[name[1]] = true
			}
		}
	}
	if diff := cmp.Diff(has, documented); diff != "" {
		t.Errorf("the metrics (-code +docs/outside.md):\n%s", diff)
	}
}
