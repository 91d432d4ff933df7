package node

import (
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// withHostFiles is a machine whose host has more files, and is known to be the host.
func withHostFiles(t *testing.T, files map[string]string) *machine {
	t.Helper()
	m := newMachine(t)
	for name, text := range files {
		write(t, filepath.Join(m.host, name), text)
	}
	return m
}

// TestLoadWithTheHostsOptions hands modules the options that modprobe would, and those
// that were asked for after them: siderolabs/talos#7008, NVIDIA/gpu-driver-container#512,
// and NVIDIA/gpu-operator#1726 of the memory's mode.
func TestLoadWithTheHostsOptions(t *testing.T) {
	t.Parallel()
	m := withHostFiles(t, map[string]string{
		"etc/modprobe.d/nvidia.conf":  "options nvidia NVreg_DeviceFileMode=0660 NVreg_ModifyDeviceFiles=1\noptions nvidia-drm modeset=1\n",
		"usr/lib/modprobe.d/uvm.conf": "blacklist nvidia\nblacklist nouveau\noptions nvidia-uvm uvm_debug_prints=1\n",
		"proc/cmdline":                "quiet nvidia.NVreg_CoherentGPUMemoryMode=driver nvidia-uvm.uvm_disable_hmm=1\n",
	})
	m.load(t, func(o *LoadOptions) { o.Parameters = []string{"nvidia.NVreg_ModifyDeviceFiles=0"} })
	m.called(t, "+nvidia NVreg_DeviceFileMode=0660 NVreg_ModifyDeviceFiles=1 NVreg_CoherentGPUMemoryMode=driver NVreg_ModifyDeviceFiles=0",
		"+nvidia_modeset", "+nvidia_drm modeset=1", "+nvidia_uvm uvm_debug_prints=1 uvm_disable_hmm=1")
	for _, want := range []string{
		`"options":"NVreg_CoherentGPUMemoryMode=driver","from":"the kernel's command line"`, `"from":"/etc/modprobe.d/nvidia.conf"`,
		`"module":"nvidia","from":"/usr/lib/modprobe.d/uvm.conf","message":"blacklisted`,
	} {
		if !strings.Contains(m.log.String(), want) {
			t.Errorf("it does not say %s:\n%s", want, m.log.String())
		}
	}
}

// TestLoadLeavesOutWhatIsNotWanted where CUDA can do without it.
func TestLoadLeavesOutWhatIsNotWanted(t *testing.T) {
	t.Parallel()
	for text, called := range map[string][]string{
		"blacklist nvidia-drm\n":                          {"+nvidia", "+nvidia_modeset", "+nvidia_uvm"},
		"install nvidia-modeset /bin/false\n":             {"+nvidia", "+nvidia_uvm"},
		"install nvidia-drm /usr/bin/true; # never\n":     {"+nvidia", "+nvidia_modeset", "+nvidia_uvm"},
		"install nvidia-drm /sbin/modprobe -i nvidia_x\n": {"+nvidia", "+nvidia_modeset", "+nvidia_drm", "+nvidia_uvm"},
	} {
		m := withHostFiles(t, map[string]string{"etc/modprobe.d/a.conf": text})
		m.load(t, nil)
		m.called(t, called...)
		if said := m.log.String(); !strings.Contains(said, "/etc/modprobe.d/a.conf") && !strings.Contains(said, "it is blacklisted on this host, or is not to be loaded") {
			t.Errorf("%s: it does not say why:\n%s", text, said)
		}
	}
	m := withHostFiles(t, map[string]string{"etc/modprobe.d/a.conf": "install nvidia /bin/false\ninstall nvidia-drm /bin/false\n"})
	if names, said := m.loadRefused(t, nil); !slices.Equal(names, []string{"kept-out"}) || !strings.Contains(said, "/etc/modprobe.d/a.conf has it run /bin/false in place of loading nvidia") {
		t.Errorf("%q\n%s", names, said)
	}
	if names, _ := m.loadRefused(t, func(o *LoadOptions) { o.Modules = []string{"nvidia-drm"} }); !slices.Equal(names, []string{"kept-out", "kept-out"}) {
		t.Errorf("asked for by name: %q", names)
	}
	m.called(t)
}
