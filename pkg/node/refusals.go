package node

import (
	"fmt"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/node/nvrm"
	"github.com/k8sp/cuda/pkg/stage"
)

// Refusal is a way in which a load fails, as users are told of it.
type Refusal struct {
	// Name is what programs tell it by, "no-device".
	Name string
	// Says is the sentence; each %s in it is what was found.
	Says string
	// Do is what to do next, in the imperative.
	Do string
}

// The refusals, in the order in which they are told. The table in docs/kinds.md of
// them is held against [Refusals] by a test.
var (
	NoDevice = Refusal{"no-device", "there is no NVIDIA GPU on the PCI bus of this host",
		"pass one through to this machine (lspci -d 10de: lists them), or have the modules tried without one with --try-without-device"}
	NotBuilt = Refusal{"not-built", "the share has no modules for this kernel, %s; it has %s",
		"build them: run the image as before, without load"}
	NoVersion = Refusal{"no-version", "the share has no driver %s for this kernel, %s; it has %s",
		"name one of these with --driver-version, or build it"}
	Damaged = Refusal{"damaged", "the published modules are not what was published: %s",
		"build again, and find out what writes to the share"}
	Untrusted = Refusal{"untrusted", "nobody who is trusted has signed the published modules: %s",
		"build with --sign-manifest and a key whose certificate --trust names, and find out what writes to the share"}
	OtherHost = Refusal{"other-host", "the host root is of kernel %s, and the kernel that runs here is %s",
		"mount at /host what is of this very host"}
	NoModules = Refusal{"no-modules", "this kernel, %s, was built without loadable modules (CONFIG_MODULES)",
		"use a host whose kernel has modules"}
	Disabled = Refusal{"modules-disabled", "the loading of modules was switched off on this host until it is started again (kernel.modules_disabled=1)",
		"load before that is set, or start the host again without it"}
	Blacklisted = Refusal{"blacklisted", "the kernel's command line has module_blacklist= with %s",
		"take it off the command line, and start the host again"}
	KeptOut = Refusal{"kept-out", "on this host modprobe would load no such module: %s has it run %s in place of loading %s",
		"take that line out, or load modules without that one (--modules)"}
	Rootless = Refusal{"rootless", "this container is in a user namespace (rootless Docker or Podman, or userns-remap), from which no kernel takes modules",
		"run it with the host's own Docker as root, with --userns host where it remaps users"}
	NoCapability = Refusal{"cap-sys-module", "this container lacks the capability CAP_SYS_MODULE, without which no module can be loaded",
		"add --cap-add SYS_MODULE to docker run, or --privileged"}
	Seccomp = Refusal{"seccomp", "this container has CAP_SYS_MODULE, and a seccomp profile refuses %s all the same",
		"take --security-opt seccomp=… off docker run: Docker's own profile allows it; or allow finit_module and delete_module in yours"}
	HeldDevice = Refusal{"held-device", "the GPU %s is held by another driver, %s",
		"have that driver let go of it: unbind it, or keep it from loading (modprobe.blacklist=nouveau on the kernel's command line), and try again"}
	NotServed = Refusal{"not-served", "these modules do not run the GPU %s: %s",
		"build another driver version, or the other form with --module-type, and load that; a virtual machine's part of a GPU (vGPU) runs with the package for guests alone, NVIDIA-Linux-…-grid.run"}
	Unaccepted = Refusal{"check", "the modules would not do for this kernel: %s",
		"build for this kernel, and load what that publishes"}
	Unsigned = Refusal{"signature", "this kernel takes only modules that a key of its own has signed (%s): %s",
		"build with --signing-key and --signing-cert of a key that the kernel trusts, or switch Secure Boot, lockdown or module.sig_enforce off"}
	SELinux = Refusal{"selinux", "SELinux, which is enforcing on this host, refused %s",
		"run the container as spc_t, which the policy of containers lets load modules (--privileged, or --security-opt label=type:spc_t; in Kubernetes seLinuxOptions: {type: spc_t}); or allow that in the host's policy"}
	IMA = Refusal{"ima", "IMA on this host takes only files that it finds a signature of its own on (%s), and modules are handed over from memory",
		"have its policy take the signature that a module itself has, too (modsig beside imasig in the appraise_type= of func=MODULE_CHECK), and build with --signing-key and --signing-cert; or take func=MODULE_CHECK out of it"}
	LoadPin = Refusal{"loadpin", "LoadPin on this host takes only modules that lie on the file system that the first one was on (%s), and these are handed over from memory",
		"start the host with loadpin.exclude=kernel-module or loadpin.enforce=0 (loadpin.enabled=0 before Linux 4.20) on the kernel's command line"}
	IPE = Refusal{"ipe", "the integrity policy on this host (IPE) takes no modules from memory: %s",
		"allow it in the policy, with op=KMODULE action=ALLOW; or have IPE only log (ipe.enforce=0 on the kernel's command line)"}
	NoBAR  = Refusal{"no-bar", "this host has no room for the GPU's memory: %s", nvrm.DoBAR}
	NoTree = Refusal{"no-tree", "the kernel's own modules %s have to be loaded first, and this host's /lib/modules is not to be seen",
		"add -v /lib/modules:/host/lib/modules:ro to docker run, or load them on the host"}
	ReadOnlyDev = Refusal{"read-only-dev", "%s cannot be written, so there is no place for device files",
		"mount the host's with -v /dev:/dev, or leave out --read-only; or name another folder with --dev"}
	NoMknod = Refusal{"cap-mknod", "device files cannot be made in %s: this container lacks CAP_MKNOD, or may not make any there",
		"leave out --cap-drop of MKNOD, or add --cap-add MKNOD to docker run"}
	DeviceCgroup = Refusal{"device-cgroup", "device files can be made in %s and not opened: the device cgroup of this container denies them",
		"add --device-cgroup-rule 'c *:* rmw' to docker run, or --privileged; or load from a container with the host's -v /dev:/dev for others to use"}
	UserSpace = Refusal{"user-space", "the share's user-space side of this driver is not what was published: %s",
		"build again, and find out what writes to the share"}
	NoRootPlace = Refusal{"root-place", "what is read again after it was verified, such as firmware, has no place that only root writes: %s",
		"add -v /run/cuda:/run/cuda to docker run, or name another folder of the host's with --copy-to"}
	NoFirmware = Refusal{"no-firmware", "the GPU's firmware, %s, is neither beside the modules nor in the host's /lib/firmware",
		"build again: that publishes the firmware of the driver package beside the modules"}
	NoHostShare = Refusal{"host-share", "the kernel looks for firmware by the host's paths, and where the share lies on the host is not to be seen",
		"say so with --host-share"}
	LongPath = Refusal{"long-path", "the firmware's folder on the host, %s, has a longer path than the 255 bytes that the kernel takes",
		"move the share to a folder with a shorter path"}
	ReadOnlySys = Refusal{"read-only-sys", "the kernel cannot be told where the firmware is: firmware_class.path is read-only in this container",
		"add -v /sys/module/firmware_class/parameters:/sys/module/firmware_class/parameters to docker run, with --security-opt apparmor=unconfined where the host has AppArmor; or --privileged"}
	OtherVersion = Refusal{"other-version", "driver %s is loaded, and %s was to be%s",
		"unload it with --replace when nobody uses it, or keep it with --driver-version"}
	OtherBuild = Refusal{"other-build", "driver %s is loaded, and it is another build than the one in the share: its modules may not go together",
		"unload it with --replace when nobody uses it, or use the driver as it is, from who built it"}
	NotLoaded = Refusal{"not-loaded", "the driver is not loaded: %s",
		"load it with builder load"}
	InUse = Refusal{"in-use", "driver %s is in use: %s",
		"stop what uses it, and try again"}
	HostDriver = Refusal{"host-driver", "driver %s is loaded by %s, which would load it again, and %s was to be",
		"let the host have one of the two: take the extension out of /etc/flatcar/enabled-sysext.conf or mask nvidia.service, and start the host again"}
	NoUnload = Refusal{"no-unload", "this kernel cannot unload modules (CONFIG_MODULE_UNLOAD), so what is loaded stays until it is started again",
		"start the host again"}
	NotUndone = Refusal{"not-undone", "not all that load did on this host could be undone: %s",
		"unload again with what load had: --privileged, -v /dev:/dev, and -v /etc/cdi:/etc/cdi where it had that"}
	GPUFails = Refusal{"gpu-failed", "the GPU %s does not work: %s",
		"do what the message says, which is by what the driver says of the GPU; or go on without it, with --allow-failed-gpus 1"}
	FabricManager = Refusal{"fabric-manager", "this host has %s, and CUDA fails there with error 802 (system not yet initialized) until NVIDIA's fabric manager of driver %s runs: %s",
		"have builder load --stay run it: a build for this host lays it out in the share, from NVIDIA's redistributables or from its archive in the share's cuda/; or run it on the host, with --fabric-manager never"}
	NVLSM = Refusal{"nvlsm", "this host has %s, and CUDA fails there with error 802 (system not yet initialized) until NVIDIA's NVLSM and fabric manager of driver %s run, with the module ib_umad: builder does not run these",
		"install nvlsm and nvidia-fabricmanager of that version on the host, and load ib_umad there"}
	Persistenced = Refusal{"persistence", "nvidia-persistenced cannot be run: %s",
		"build again with --user-space compute, which lays it out; or leave --persistence out"}
	Refused = Refusal{"refused", "the kernel refused %s: %s",
		"look at what its log says of it (dmesg on the host)"}
)

// Foreign is [Damaged] where nothing is wrong with the share: an earlier or a later
// builder has published.
var Foreign = Refusal{Damaged.Name, "the published modules are of another builder's format: %s", "build again with this builder, and load that"}

// UntrustedRoot is [Untrusted] of the driver's user-space side.
var UntrustedRoot = Refusal{Untrusted.Name, "nobody who is trusted has signed the share's user-space side of this driver: %s", Untrusted.Do}

// NobodyTrusted is [Untrusted] where nothing in the share could be.
var NobodyTrusted = Refusal{Untrusted.Name, "there is nobody whose signature would be trusted: %s", "name certificates that are not in the share with --trust"}

// Anew is [Damaged] where nothing is wrong with the share: a build has replaced
// the modules since they were chosen.
var Anew = Refusal{Damaged.Name, "the modules were published anew meanwhile", "load again"}

// Unread is [NotUndone] where nobody can tell what a record has.
var Unread = Refusal{NotUndone.Name, "not all that load did on this host could be undone: a record of it cannot be read, %s",
	"unload with the builder that loaded; or undo what the file tells by hand and remove it, or start the host again, with which it is all over"}

// Refusals lists all of them in the order in which they are told.
func Refusals() []Refusal {
	return []Refusal{
		NoDevice, NotBuilt, NoVersion, Damaged, Untrusted, OtherHost, NoModules, Disabled, Blacklisted, KeptOut, Rootless, NoCapability, Seccomp,
		HeldDevice, NotServed, Unaccepted, Unsigned, SELinux, IMA, LoadPin, IPE, NoBAR, NoTree, ReadOnlyDev, NoMknod, DeviceCgroup,
		UserSpace, NoRootPlace, NoFirmware, NoHostShare, LongPath, ReadOnlySys, OtherVersion, OtherBuild, NotLoaded, InUse, HostDriver, NoUnload, NotUndone, GPUFails, FabricManager, NVLSM, Persistenced, Refused,
	}
}

// Finding is a refusal that was met.
type Finding = stage.Finding

// Of is the refusal with what was found.
func (r Refusal) Of(found ...any) Finding {
	return Finding{Name: r.Name, Says: fmt.Sprintf(r.Says, found...), Do: r.Do}
}

// refuse is the error of the load stage that tells all findings at once, in the
// order of [Refusals]; nil where there are none.
func refuse(findings []Finding, cause error) error {
	if len(findings) == 0 {
		return cause
	}
	order := func(f Finding) int {
		return slices.IndexFunc(Refusals(), func(r Refusal) bool { return r.Name == f.Name })
	}
	findings = slices.SortedStableFunc(slices.Values(findings), func(a, b Finding) int { return order(a) - order(b) })
	var says, do []string
	for _, f := range findings {
		says = append(says, f.Says)
		if !slices.Contains(do, f.Do) {
			do = append(do, f.Do)
		}
	}
	e := &stage.Error{Stage: stage.Load, Kind: findings[0].Name, Reason: says[0], Hint: do[0], Err: cause}
	if len(findings) > 1 {
		e.Reason = fmt.Sprintf("%d things stand in the way: (1) %s", len(says), says[0])
		for i, s := range says[1:] {
			e.Reason += fmt.Sprintf("; (%d) %s", i+2, s)
		}
		e.Hint = strings.Join(do, "; ")
	}
	e.Findings = findings
	return e
}
