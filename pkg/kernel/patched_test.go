package kernel

import "testing"

func TestPatched(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct{ release, id, by, headers string }{
		{"6.12.102-flatcar", "flatcar", "", ""},
		{"4.19.123-coreos-r1", "coreos", "", ""},
		{"6.1.192", "", "", ""},
		{"6.12.118+deb13-amd64", "", "Debian", "linux-headers-6.12.118+deb13-amd64"},
		{"6.1.0-49-cloud-amd64", "", "Debian", "linux-headers-6.1.0-49-cloud-amd64"},
		{"6.1.0-49-amd64", "debian", "Debian", "linux-headers-6.1.0-49-amd64"},
		{"6.8.0-45-generic", "ubuntu", "Ubuntu", "linux-headers-6.8.0-45-generic"},
		{"6.5.0-1014-aws", "", "Ubuntu", "linux-headers-6.5.0-1014-aws"},
		{"5.14.0-427.42.1.el9_4.x86_64", "", "Enterprise Linux", "kernel-devel-5.14.0-427.42.1.el9_4.x86_64"},
		{"5.15.138.1-4.cm2", "mariner", "Azure Linux", "kernel-devel"},
		{"6.6.57.1-7.azl3", "", "Azure Linux", "kernel-devel"},
		{"6.1.109-118.189.amzn2023.x86_64", "", "Amazon Linux", "kernel-devel-6.1.109-118.189.amzn2023.x86_64"},
		{"6.8.12-4-pve", "", "Proxmox", "proxmox-headers-6.8.12-4-pve"},
		{"6.12.18-talos", "", "Talos", ""},
		{"6.1.0-0.deb11.21-amd64", "", "Debian", "linux-headers-6.1.0-0.deb11.21-amd64"},
		{"6.12.9+bpo-amd64", "", "Debian", "linux-headers-6.12.9+bpo-amd64"},
		{"6.12.50", "debian", "", ""}, // made by its user, of kernel.org's
		{"6.12.50", "ubuntu", "", ""},
		{"6.12.20-kvm", "", "", ""},
		{"6.1.119-azure", "", "", ""},
		{"6.8.0-1017-tegra", "", "", ""},
		{"6.8.0-1017-vendor-64k", "ubuntu", "Ubuntu", "linux-headers-6.8.0-1017-vendor-64k"},
		{"5.15.0-200.131.27.el9uek.x86_64", "ol", "Oracle's UEK", "kernel-uek-devel-5.15.0-200.131.27.el9uek.x86_64"},
		{"6.4.0-150600.23.25-default", "sles", "SUSE", "kernel-devel"},
		{"6.11.0-1-default", "opensuse-tumbleweed", "SUSE", "kernel-devel"},
		{"6.12.5-200.fc41.x86_64", "fedora", "Fedora", ""},
		{"6.1.109", "bottlerocket", "Bottlerocket", ""},
		{"6.6.72+", "cos", "Container-Optimized OS", ""},
	} {
		got := Target{Release: mustRelease(t, tt.release), Distribution: Distribution{ID: tt.id}}.Patched()
		if want := (Patched{tt.by, tt.headers}); got != want {
			t.Errorf("%s of %q: %+v, want %+v", tt.release, tt.id, got, want)
		}
	}
}
