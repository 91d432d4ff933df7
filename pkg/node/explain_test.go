package node

import (
	"errors"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"golang.org/x/sys/unix"

	"github.com/k8sp/cuda/pkg/node/live"
	"github.com/k8sp/cuda/pkg/node/nvrm"
)

func TestExplain(t *testing.T) {
	for _, tt := range []struct {
		name   string
		err    error
		log    []string
		hidden error
		want   Finding
	}{
		{"no GPU", unix.ENODEV, []string{"nvidia: loading out-of-tree module taints kernel.", "NVRM: No NVIDIA GPU found."}, nil, NoDevice.Of()},
		{"no GPU, and no log", unix.ENODEV, nil, unix.EPERM, NoDevice.Of()},
		{"a GPU of later drivers", unix.ENODEV, []string{
			"NVRM: The NVIDIA GPU 0000:65:00.0 (PCI ID: 10de:2bb5)", "NVRM: installed in this system is not supported by the", "NVRM: NVIDIA 535.261.03 driver release.",
		}, nil, NotServed.Of("10de:2bb5 at 0000:65:00.0", "the GPU installed in this system is not supported by the NVIDIA 535.261.03 driver release")},
		{"a GPU of earlier drivers", unix.ENODEV, []string{ // recorded, of 535.261.03
			"NVRM: The NVIDIA GeForce 9500 GT GPU installed in this system is", "NVRM:  supported through the NVIDIA 340.xx Legacy drivers. Please",
			"NVRM:  visit http://www.nvidia.com/object/unix.html for more", "NVRM:  information.  The 535.261.03 NVIDIA driver will ignore",
			"NVRM:  this GPU.  Continuing probe...", "NVRM: No NVIDIA GPU found.",
		}, nil, NotServed.Of("GeForce 9500 GT", "it runs with the legacy drivers 340.xx only")},
		{"an unsigned module", unix.EKEYREJECTED, []string{"Loading of unsigned module is rejected"}, nil,
			Unsigned.Of("as its log says", "Loading of unsigned module is rejected")},
		// Flatcar/Flatcar#1283: a part of a P40.
		{"a vGPU", unix.ENODEV, []string{
			"nvidia 0000:02:00.0: vgaarb: changed VGA decodes: olddecodes=none,decodes=none:owns=none", "NVRM: The NVIDIA GPU 0000:02:00.0 (PCI ID: 10de:1b38)",
			"NVRM: installed in this system is not supported by the", "NVRM: NVIDIA 535.104.05 driver release.", "NVRM: Please see 'Appendix A - Supported NVIDIA GPU Products'",
			"NVRM: in this release's README, available on the operating system", "NVRM: specific graphics driver download page at www.nvidia.com.",
			"nvidia: probe of 0000:02:00.0 failed with error -1", "NVRM: The NVIDIA probe routine failed for 1 device(s).", "NVRM: None of the NVIDIA devices were initialized.",
		}, nil, NotServed.Of("10de:1b38 at 0000:02:00.0", "the GPU installed in this system is not supported by the NVIDIA 535.104.05 driver release")},
		// coreos/fedora-coreos-tracker#1018.
		{"SELinux", unix.EACCES, []string{`audit: type=1400 audit(1624460471.557:725): avc:  denied  { module_load } for  pid=109560 comm="insmod" path="/tmp/drbd.ko" dev="tmpfs" ino=6248 scontext=system_u:system_r:spc_t:s0 tcontext=unconfined_u:object_r:user_home_t:s0 tclass=system permissive=0`}, nil,
			SELinux.Of("module_load to system_u:system_r:spc_t:s0, of what is unconfined_u:object_r:user_home_t:s0")},
		// NVIDIA/gpu-operator#2837, on RKE2, whose containers are of another domain.
		{"SELinux, of a compressed file", unix.EACCES, []string{`audit: type=1400 audit(1787917556.472:1584): avc:  denied  { module_load } for  pid=38113 comm="modprobe" path="/usr/lib/modules/6.12.0-160000.37-default/updates/nvidia.ko.zst" dev="overlay" ino=2768537 scontext=system_u:system_r:unconfined_service_t:s0 tcontext=system_u:object_r:container_file_t:s0 tclass=system permissive=0`}, nil,
			SELinux.Of("module_load to system_u:system_r:unconfined_service_t:s0, of what is system_u:object_r:container_file_t:s0")},
		{"SELinux that only looks", unix.ENOMEM, []string{`audit: type=1400 audit(1624460471.557:725): avc:  denied  { module_load } for  pid=109560 comm="insmod" scontext=system_u:system_r:spc_t:s0 tcontext=unconfined_u:object_r:user_home_t:s0 tclass=system permissive=1`}, nil,
			as(Refused.Of("nvidia", "ENOMEM (cannot allocate memory)"), "free memory on this host, of which a module takes twice its size as it is loaded")},
		// Flatcar/Flatcar#783.
		{"SELinux and lockdown", unix.EACCES, []string{`audit: type=1400 audit(1655302156.066:213): avc:  denied  { integrity } for  pid=2468 comm="insmod" lockdown_reason="unsigned module loading" scontext=system_u:system_r:kernel_t:s0 tcontext=system_u:system_r:kernel_t:s0 tclass=lockdown permissive=0`}, nil,
			SELinux.Of("integrity (unsigned module loading) to system_u:system_r:kernel_t:s0")},
		// kitakar5525/chromeos-kernel-linux-surface#3, but for its old call.
		{"LoadPin", unix.EPERM, []string{`LoadPin: kernel-module denied obj="/memfd:nvidia.ko (deleted)" pid=11317 cmdline="/builder load"`}, nil,
			LoadPin.Of(`LoadPin: kernel-module denied obj="/memfd:nvidia.ko (deleted)" pid=11317 cmdline="/builder load"`)},
		// Recorded, of Debian's 6.12.118 with ima_policy=secure_boot.
		{"IMA", unix.EACCES, []string{`audit: type=1800 audit(1795990748.274:2): pid=1 uid=0 auid=4294967295 ses=4294967295 subj=unconfined op=appraise_data cause=IMA-signature-required comm="init" name="/standin/standin_pci.ko" dev="rootfs" ino=94 res=0 errno=0`}, nil,
			IMA.Of("cause=IMA-signature-required")},
		{"IPE", unix.EACCES, []string{`audit: type=1420 audit(1653364370.067:61): ipe_op=KMODULE ipe_hook=KERNEL_READ enforcing=1 pid=2241 comm="builder" path="/memfd:nvidia.ko" dev="tmpfs" ino=5 rule="DEFAULT action=DENY"`}, nil,
			IPE.Of(`ipe_op=KMODULE ipe_hook=KERNEL_READ enforcing=1 pid=2241 comm="builder" path="/memfd:nvidia.ko" dev="tmpfs" ino=5 rule="DEFAULT action=DENY"`)},
		{"another driver", unix.ENODEV, []string{ // nv.c
			"NVRM: The NVIDIA probe routine was not called for 1 device(s).", "NVRM: This can occur when another driver was loaded and", "NVRM: obtained ownership of the NVIDIA device(s).",
			"NVRM: Try unloading the conflicting kernel module (and/or", "NVRM: reconfigure your kernel without the conflicting", "NVRM: driver(s)), then try loading the NVIDIA kernel module", "NVRM: again.", "NVRM: No NVIDIA devices probed.",
		}, nil, HeldDevice.Of("that the modules are for", "as they say: The NVIDIA probe routine was not called for 1 device(s)")},
		{"the only GPU has no BAR1", unix.ENODEV, []string{ // NVIDIA/gpu-operator#492, where there is one
			"NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:", "NVRM: BAR1 is 0M @ 0x0 (PCI:0000:14:00.0)",
			"nvidia: probe of 0000:14:00.0 failed with error -1", "NVRM: The NVIDIA probe routine failed for 1 device(s).", "NVRM: None of the NVIDIA devices were initialized.",
		}, nil, NoBAR.Of("This PCI I/O region assigned to your NVIDIA device is invalid: BAR1 is 0M @ 0x0 (PCI:0000:14:00.0)")},
		{"the only GPU is gone", unix.ENODEV, []string{ // osapi.c
			"NVRM: The NVIDIA GPU 0000:41:00.0", "NVRM: (PCI ID: 10de:2204) installed in this system has", "NVRM: fallen off the bus and is not responding to commands.", "NVRM: None of the NVIDIA devices were initialized.",
		}, nil, as(GPUFails.Of("at 0000:41:00.0", "The NVIDIA GPU 0000:41:00.0 (PCI ID: 10de:2204) installed in this system has fallen off the bus and is not responding to commands"), doGone)},
		{"not a module of this kernel", unix.ENOEXEC, []string{"nvidia: version magic 'a' should be 'b'"}, nil,
			as(Refused.Of("nvidia", "ENOEXEC (exec format error)"), "build again for this very kernel, from a mount of the host (-v /:/host:ro): these modules are not of it")},
		{"no number", errors.New("no such thing"), nil, nil,
			as(Refused.Of("nvidia", "no such thing"), Refused.Do+"; another version of the driver, or the other form of it, may serve")},
	} {
		if diff := cmp.Diff(tt.want, explain(live.Main, tt.err, tt.log, tt.hidden, false)); diff != "" {
			t.Errorf("%s (-want +got):\n%s", tt.name, diff)
		}
	}
}

// as is a finding with a remedy of its own.
func as(f Finding, do string) Finding {
	f.Do = do
	return f
}

var doGone = nvrm.Read([]string{"NVRM: Xid (PCI:0000:41:00): 79, GPU has fallen off the bus."})[0].Do

// TestDoRefused tells by the number what helps, and says "build again" only where that
// can help.
func TestDoRefused(t *testing.T) {
	for number, want := range map[unix.Errno]string{
		unix.ENOEXEC: "build again for this very kernel", unix.ENOENT: "build again for this very kernel", unix.ENOMEM: "free memory",
		unix.EPERM: "audit log", unix.EACCES: "audit log", unix.EINVAL: "a parameter has a wrong value", unix.EIO: "another version of the driver",
	} {
		if got := doRefused(number, ""); !strings.Contains(got, want) {
			t.Errorf("%v: %q, want %q", number, got, want)
		}
	}
	if got := doRefused(unix.EINVAL, "nvidia: disagrees about version of symbol module_layout"); !strings.Contains(got, "build again") {
		t.Errorf("%q", got)
	}
	// NVIDIA/gpu-operator#553: an audit daemon has the log's word.
	if got := explain(live.Main, unix.EACCES, nil, nil, true); got.Name != SELinux.Name {
		t.Errorf("%+v", got)
	}
	if got := explain(live.Main, unix.EACCES, nil, nil, false); got.Name != Refused.Name {
		t.Errorf("%+v", got)
	}
}
