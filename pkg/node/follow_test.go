package node

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/modules"
	"github.com/k8sp/cuda/pkg/share"
)

// told is what somebody is told of a driver.
type told struct {
	mu   sync.Mutex
	list []Status
}

func (o *told) tell(_ context.Context, s Status) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.list = append(o.list, s)
}

func (o *told) all() []Status {
	o.mu.Lock()
	defer o.mu.Unlock()
	return o.list[:len(o.list):len(o.list)]
}

// await is the first status that is as it should be.
func (o *told) await(t *testing.T, is func(Status) bool) Status {
	t.Helper()
	for range 1000 {
		for _, s := range o.all() {
			if is(s) {
				return s
			}
		}
		time.Sleep(10 * time.Millisecond)
	}
	t.Fatalf("none is as it should be; the states were %q, the last %+v", o.states(), o.all()[len(o.all())-1])
	return Status{}
}

// states are those that a driver was in, each change once.
func (o *told) states() (list []string) {
	for _, s := range o.all() {
		if len(list) == 0 || list[len(list)-1] != s.State {
			list = append(list, s.State)
		}
	}
	return list
}

// quick has whoever stays look often, and tell somebody.
func (o *told) quick(options *LoadOptions) { options.poll, options.Tell = time.Millisecond, o.tell }

// TestStayTells what happens to a driver: a GPU that is lost and comes back, and an unload.
func TestStayTells(t *testing.T) {
	t.Parallel()
	m, _ := withGPUs(t, 2, 2)
	m.notePull(t, share.Pull{Driver: testDriver, Release: testRelease, Seconds: 4.5, At: time.Now()})
	var o told
	end := m.staying(t, o.quick)
	first := o.await(t, func(Status) bool { return true })
	if first.State != StateReady || first.Err != nil || first.Driver != testDriver || first.Release != testRelease || first.Form != "proprietary" || len(first.Findings) != len(Verdicts()) ||
		len(first.GPUs) != 2 || !first.GPUs[1].Expected() || first.Load <= 0 || first.Pull.Seconds != 4.5 || first.Xids != nil || first.Deaf != nil || time.Since(first.At) > time.Hour {
		t.Errorf("%+v", first)
	}
	o.await(t, func(s Status) bool { return s.Xids != nil && len(s.Xids) == 0 && s.Deaf == nil }) // it is heard
	m.kernel.Say(another + lost)
	lost := o.await(t, func(s Status) bool { return s.State == "gpu-failed" })
	if diff := cmp.Diff(map[Xid]int{{"0000:66:00.0", 31}: 1, {"0000:66:00.0", 79}: 1}, lost.Xids); diff != "" {
		t.Errorf("the Xids (-want +got):\n%s", diff)
	}
	if lost.Err == nil || !strings.Contains(lost.Err.Error(), "has fallen off the bus") || lost.GPUs[1].State != GPUFailed || lost.Form == "" || lost.Load != first.Load {
		t.Errorf("%+v", lost)
	}
	m.kernel.Say(logged("NVRM: Xid (PCI:0000:66:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)"))
	o.await(t, func(s Status) bool {
		return s.State == StateReady && s.Xids[Xid{"0000:66:00.0", 154}] == 1 && s.At.After(lost.At)
	})
	m.unload(t)
	gone := o.await(t, func(s Status) bool { return s.State == "not-loaded" && s.Driver == "" })
	if gone.Err == nil || gone.GPUs != nil || gone.Form != "" || gone.Findings != nil {
		t.Errorf("%+v", gone)
	}
	log := end()
	for _, want := range []string{`"kind":"gpu-failed"`, `"message":"the driver is ready"`, `"kind":"not-loaded"`, `"before":"ready"`} {
		if strings.Count(log, want) == 0 {
			t.Errorf("the log has no %s:\n%s", want, log)
		}
	}
	if n := strings.Count(log, `"stage":"load","message":"started"`); n != 1 {
		t.Errorf("%d loads are in the log, want that of who stays:\n%s", n, log)
	}
	if last := o.all()[len(o.all())-1]; len(last.Xids) != 3 {
		t.Errorf("%v", last.Xids)
	}
}

// TestStayTellsOfTheFabricManager: a driver is not ready before it is.
func TestStayTellsOfTheFabricManager(t *testing.T) {
	t.Parallel()
	m := withSwitches(t)
	m.giveFiles(t)
	ready := filepath.Join(t.TempDir(), "ready")
	m.manager(t, "while [ ! -e "+ready+" ]; do sleep 0.01; done; echo Successfully configured all the available; while [ -e "+ready+" ]; do sleep 0.01; done; exit 3")
	var o told
	m.staying(t, o.quick)
	if first := o.all()[0]; first.State != "fabric-manager" || !strings.Contains(first.Err.Error(), "it is starting") {
		t.Errorf("%+v", first)
	}
	write(t, ready, "")
	up := o.await(t, func(s Status) bool { return s.State == StateReady })
	remove(t, ready)
	o.await(t, func(s Status) bool { return s.State == "fabric-manager" && s.At.After(up.At) })
}

// TestStayWithoutTheKernelsLog says once that it counts nothing.
func TestStayWithoutTheKernelsLog(t *testing.T) {
	t.Parallel()
	m, _ := withFiles(t)
	m.kernel.Hidden = unix.EPERM
	var o told
	end := m.staying(t, o.quick)
	o.await(t, func(s Status) bool { return s.Deaf != nil && s.State == StateReady })
	time.Sleep(20 * time.Millisecond) // many looks more
	if log := end(); strings.Count(log, "so they are not counted") != 1 {
		t.Errorf("%s", log)
	}
}

// TestStayLeavesOthersAlone: a driver that is not the share's is as ready as the load has
// found it, for as long as it is there.
func TestStayLeavesOthersAlone(t *testing.T) {
	t.Parallel()
	m, _ := withFiles(t)
	remove(t, filepath.Join(m.share, "modules"))
	m.kernel.Have("nvidia", "999.1", "")
	var o told
	m.staying(t, o.quick)
	o.await(t, func(s Status) bool { return s.At.After(o.all()[0].At) }) // a check
	if diff := cmp.Diff([]string{StateReady}, o.states()); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
	if s := o.all()[0]; s.Driver != "999.1" || s.Form != "" || s.Findings != nil {
		t.Errorf("%+v", s)
	}
	if err := m.kernel.Remove("nvidia"); err != nil {
		t.Fatal(err)
	}
	o.await(t, func(s Status) bool { return s.State == "not-built" && s.Driver == "" })
}

// TestLabelsFollow what whoever stays finds out.
func TestLabelsFollow(t *testing.T) {
	t.Parallel()
	m, _ := withGPUs(t, 2, 2)
	dir := filepath.Join(m.own, featureDir)
	write(t, filepath.Join(dir, "others"), "theirs=1\n")
	m.mount(t, dir, "tmpfs")
	m.staying(t, func(o *LoadOptions) { o.poll = time.Millisecond })
	m.kernel.Say(lost)
	text := ""
	for range 1000 {
		if text = read(t, filepath.Join(dir, featureFile)); strings.Contains(text, "cuda-driver.state=gpu-failed\n") {
			break
		}
		time.Sleep(10 * time.Millisecond)
	}
	if !strings.HasPrefix(text, expiryMark) || !strings.Contains(text, "cuda-driver.state=gpu-failed\ncuda-driver.version="+testDriver+"\n") {
		t.Errorf("%q", text)
	}
}

// TestNobodyToTell: where nobody is told, nothing is looked at.
func TestNobodyToTell(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	l, done, err := newLoader(m.context(t), m.options(nil))
	if err != nil {
		t.Fatal(err)
	}
	done()
	l.newFollower(m.options(nil), Status{}).follow(t.Context()) // it does not wait for the context to end
}

// TestXidsAreBounded: whatever is in the kernel's log, there are not more to be told of than
// anybody can keep.
func TestXidsAreBounded(t *testing.T) {
	t.Parallel()
	m := newMachine(t)
	l, done, err := newLoader(m.context(t), m.options(nil))
	if err != nil {
		t.Fatal(err)
	}
	done()
	f := l.newFollower(m.options(nil), Status{})
	var lines []string
	for n := range 3 * maxXids {
		lines = append(lines, fmt.Sprintf("NVRM: Xid (PCI:0000:65:00): %d, of a program", n+1))
	}
	f.count(lines)
	f.count(lines[:2])
	if len(f.known.Xids) != maxXids+1 || f.known.Xids[Xid{"0000:65:00.0", 1}] != 2 || f.known.Xids[Xid{}] != 2*maxXids {
		t.Errorf("%d kinds, and %d of others", len(f.known.Xids), f.known.Xids[Xid{}])
	}
}

func TestVerdicts(t *testing.T) {
	t.Parallel()
	got := verdicts(modules.Manifest{Overridden: []string{"b"}, Checks: []modules.Check{
		{Name: "a", Verdict: modules.Passed}, {Name: "a", Verdict: modules.Passed}, {Name: "b", Verdict: modules.Failed}, {Name: "c", Verdict: modules.Failed},
		{Name: "b", Verdict: modules.NotCheckable}, {Name: "d", Verdict: modules.NotAsked},
	}})
	if diff := cmp.Diff(map[string]int{"passed": 2, "overridden": 1, "failed": 1, "not-checkable": 1, "not-asked": 1}, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}

// notePull has something have been pulled into the share.
func (m *machine) notePull(t *testing.T, p share.Pull) {
	t.Helper()
	s, err := share.Open(m.share)
	if err == nil {
		err = s.Writable()
	}
	if err == nil {
		err = s.NotePull(p)
	}
	if err != nil {
		t.Fatal(err)
	}
}
