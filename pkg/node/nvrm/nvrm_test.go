package nvrm

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

// What drivers said: of public reports where one is named, else as their source has it.
const (
	// NVIDIA/gpu-operator#1146: one of eight GPUs.
	initFails = `NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)
NVRM: GPU 0000:0a:00.0: rm_init_adapter failed, device minor number 5
NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)
NVRM: GPU 0000:0a:00.0: rm_init_adapter failed, device minor number 5`
	// A GPU that is gone when the driver looks for it.
	goneAtProbe = `NVRM: The NVIDIA GPU 0000:41:00.0
NVRM: (PCI ID: 10de:2204) installed in this system has
NVRM: fallen off the bus and is not responding to commands.
nvidia: probe of 0000:41:00.0 failed with error -1`
	// And one that goes while it computes.
	goneLater = `NVRM: GPU at PCI:0000:41:00: GPU-b850f46d-d5ea-c752-ddf3-c4453e44d3f7
NVRM: Xid (PCI:0000:41:00): 79, pid='<unknown>', name=<unknown>, GPU has fallen off the bus.
NVRM: GPU 0000:41:00.0: GPU has fallen off the bus.
NVRM: GPU 0000:41:00.0: GPU serial number is 1234567890123.`
	goneLonger = `NVRM: GPU at 0000:41:00.0 has fallen off the bus.`
	// bryansteiner/gpu-passthrough-tutorial#39.
	asleep = `nvidia 0000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible
NVRM: GPU 0000:01:00.0: RmInitAdapter failed! (0x22:0x56:667)
NVRM: GPU 0000:01:00.0: rm_init_adapter failed, device minor number 0`
	// NVIDIA/gpu-operator#492: a virtual machine that has no room for the cards' memory.
	noBAR = `NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:
               NVRM: BAR1 is 0M @ 0x0 (PCI:0000:14:00.0)
nvidia: probe of 0000:14:00.0 failed with error -1
nvidia 0000:1b:00.0: vgaarb: changed VGA decodes: olddecodes=none,decodes=none:owns=none
NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:
               NVRM: BAR1 is 0M @ 0x0 (PCI:0000:1c:00.0)
nvidia: probe of 0000:1c:00.0 failed with error -1
NVRM: The NVIDIA probe routine failed for 2 device(s).
NVRM: loading NVIDIA UNIX x86_64 Kernel Module  510.108.03  Thu Oct 20 05:10:45 UTC 2022`
	noFirmware = `nvidia 0000:65:00.0: Direct firmware load for nvidia/535.261.03/gsp_tu10x.bin failed with error -2
NVRM: GPU 0000:65:00.0: RmInitAdapter failed! (0x62:0x56:1697)`
	gspUp = `NVRM: GPU0 kgspInitRm_IMPL: unexpected WPR2 already up, cannot proceed with booting GSP
NVRM: GPU0 kgspInitRm_IMPL: (the GPU is likely in a bad state and may need to be reset)
NVRM: GPU0 RmInitAdapter: Cannot initialize GSP firmware RM
NVRM: GPU 0000:65:00.0: RmInitAdapter failed! (0x62:0x40:2003)
NVRM: GPU 0000:66:00.0: RmInitAdapter failed! (0x26:0x56:1463)`
	// forums.developer.nvidia.com/t/364958.
	reset = `NVRM: Xid (PCI:0000:01:00): 62, 223b6a66 00002100 00000000 20662342 20662ba6 20664272 2065f7ca 2063f48c
NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)`
	wasReset = reset + `
NVRM: Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x1 (GPU Reset Required) to 0x0 (None)`
	reboot = `NVRM: Xid (PCI:0000:c9:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)`
	drain  = `NVRM: Xid (PCI:0000:c9:00): 154, GPU recovery action changed from 0x0 (None) to 0x4 (Drain and Reset)`
	// What a program did wrong says nothing of the GPU.
	programs = `NVRM: Xid (PCI:0000:65:00): 31, pid=4242, name=python3, Ch 00000008, intr 00000000. MMU Fault: ENGINE GRAPHICS GPCCLIENT_T1_0 faulted @ 0x7f00_00000000. Fault is of type FAULT_PDE ACCESS_TYPE_VIRT_READ`
	noPower  = `NVRM: GPU 0000:0a:00.0: GPU does not have the necessary power cables connected.
NVRM: GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x1c:1435)`
)

func TestRead(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, log string
		want      map[string]Message // those that are lost
	}{
		{"nothing", "random: crng init done\nNVRM: loading NVIDIA UNIX x86_64 Kernel Module  550.90.07", nil},
		{"its start fails", initFails, map[string]Message{"0000:0a:00.0": {Says: "GPU 0000:0a:00.0: RmInitAdapter failed! (0x24:0x72:1568)", Do: doInit}}},
		{"gone at the probe", goneAtProbe, map[string]Message{"0000:41:00.0": {Says: "The NVIDIA GPU 0000:41:00.0 (PCI ID: 10de:2204) installed in this system has fallen off the bus and is not responding to commands", Do: doBus}}},
		{"gone later", goneLater, map[string]Message{"0000:41:00.0": {Says: "GPU 0000:41:00.0: GPU has fallen off the bus", Do: doBus}}},
		{"gone, as older drivers say it", goneLonger, map[string]Message{"0000:41:00.0": {Says: "GPU at 0000:41:00.0 has fallen off the bus", Do: doBus}}},
		{"gone, by its Xid alone", "NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus.", map[string]Message{"0000:41:00.0": {Says: "Xid (PCI:0000:41:00): 79, GPU has fallen off the bus", Xid: 79, Do: doBus}}},
		{"asleep", asleep, map[string]Message{"0000:01:00.0": {Says: "nvidia 0000:01:00.0: Unable to change power state from D3cold to D0, device inaccessible", Do: doBus}}},
		{"no BAR1", noBAR, map[string]Message{
			"0000:14:00.0": {Says: "This PCI I/O region assigned to your NVIDIA device is invalid: BAR1 is 0M @ 0x0 (PCI:0000:14:00.0)", Do: DoBAR},
			"0000:1c:00.0": {Says: "This PCI I/O region assigned to your NVIDIA device is invalid: BAR1 is 0M @ 0x0 (PCI:0000:1c:00.0)", Do: DoBAR},
		}},
		{"no firmware", noFirmware, map[string]Message{"0000:65:00.0": {Says: "nvidia 0000:65:00.0: Direct firmware load for nvidia/535.261.03/gsp_tu10x.bin failed with error -2", Do: doBlobs}}},
		{"the GSP runs, of one of two", gspUp, map[string]Message{
			"0000:65:00.0": {Says: wpr2 + ": GPU 0000:65:00.0: RmInitAdapter failed! (0x62:0x40:2003)", Do: doGSP},
			"0000:66:00.0": {Says: "GPU 0000:66:00.0: RmInitAdapter failed! (0x26:0x56:1463)", Do: doInit},
		}},
		{"a reset is due", reset, map[string]Message{"0000:01:00.0": {Xid: 154, Do: "end what uses the GPU and reset it (nvidia-smi --gpu-reset --id=0000:01:00.0), or start the host again",
			Says: "Xid (PCI:0000:01:00): 154, GPU recovery action changed from 0x0 (None) to 0x1 (GPU Reset Required)"}}},
		{"was reset", wasReset, nil},
		{"a reboot is due", reboot, map[string]Message{"0000:c9:00.0": {Xid: 154, Do: doBoot,
			Says: "Xid (PCI:0000:c9:00): 154, GPU recovery action changed from 0x0 (None) to 0x2 (Node Reboot Required)"}}},
		{"a reset would do good", drain, nil},
		{"a program's fault", programs, nil},
		{"no power", noPower, map[string]Message{"0000:0a:00.0": {Says: "GPU 0000:0a:00.0: GPU does not have the necessary power cables connected", Do: doPower}}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			messages := Read(strings.Split(tt.log, "\n"))
			got := map[string]Message{}
			for _, m := range messages {
				if why, lost := Lost(messages, m.Address, false); lost {
					got[m.Address] = why
				}
			}
			for address, m := range tt.want {
				m.Address, m.Lost = address, true
				tt.want[address] = m
			}
			if diff := cmp.Diff(tt.want, got, cmpopts.IgnoreUnexported(Message{}), cmpopts.IgnoreFields(Message{}, "Start"), cmpopts.EquateEmpty()); diff != "" {
				t.Errorf("-want +got:\n%s", diff)
			}
		})
	}
}

// TestLostOfAGPUThatWasStarted counts what is said later, and not why a start failed.
func TestLostOfAGPUThatWasStarted(t *testing.T) {
	t.Parallel()
	for log, want := range map[string]bool{initFails: false, noFirmware: false, asleep: false, goneLater: true, reset: true} {
		messages := Read(strings.Split(log, "\n"))
		if why, lost := Lost(messages, messages[0].Address, true); lost != want {
			t.Errorf("%t, want %t, by %+v of\n%s", lost, want, why, log)
		}
	}
}

// TestReadTellsXids that do not say that the GPU is lost.
func TestReadTellsXids(t *testing.T) {
	t.Parallel()
	for log, want := range map[string][]int{programs: {31}, reset: {154, 62}, wasReset: nil, drain: {154}} {
		var got []int
		for _, m := range Read(strings.Split(log, "\n")) {
			got = append(got, m.Xid)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%v, want %v of\n%s", got, want, log)
		}
	}
}

func TestSinceLoad(t *testing.T) {
	t.Parallel()
	before := []string{"NVRM: GPU 0000:65:00.0: RmInitAdapter failed! (0x26:0x56:1463)", "nvidia-nvlink: Unregistered Nvlink Core, major device number 511"}
	first := []string{"nvidia-nvlink: Nvlink Core is being initialized, major device number 511", "NVRM: This PCI I/O region", "NVRM: loading NVIDIA UNIX x86_64 Kernel Module"}
	for name, tt := range map[string]struct{ log, want []string }{
		"one load":              {first, first},
		"a second":              {append(slices.Clone(before), first...), first},
		"without NVLink":        {append(slices.Clone(before), first[1:]...), first[2:]},
		"the beginning is gone": {before, before},
	} {
		if diff := cmp.Diff(tt.want, SinceLoad(tt.log)); diff != "" {
			t.Errorf("%s: -want +got:\n%s", name, diff)
		}
	}
}

func TestSysfsAddress(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{"0000:65:00": "0000:65:00.0", "00000000:65:00.1": "0000:65:00.1", "0009:01:00": "0009:01:00.0", "10000:E1:00.0": "10000:e1:00.0"} {
		if got := sysfsAddress(text); got != want {
			t.Errorf("%s is %s, want %s", text, got, want)
		}
	}
}

// TestXids counts each, of a GPU's parts as well.
func TestXids(t *testing.T) {
	t.Parallel()
	log := wasReset + "\n" + programs + "\n" + programs + "\nNVRM: Xid (PCI:0000:65:00 GPU-I:01 GPU-CI:00): 43, pid=4242, name=python3, Ch 00000008\n" +
		"NVRM: Xid (PCI:0000:65:00 GPU-I:01): 45, pid=4242, name=python3, Ch 00000008\nNVRM: Xid (PCI:0000:65:00): 99999999999999999999, a number"
	var got []string
	for _, m := range Xids(strings.Split(log, "\n")) {
		got = append(got, fmt.Sprintf("%s %d", m.Address, m.Xid))
	}
	want := []string{"0000:01:00.0 62", "0000:01:00.0 154", "0000:01:00.0 154", "0000:65:00.0 31", "0000:65:00.0 31", "0000:65:00.0 43", "0000:65:00.0 45"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
