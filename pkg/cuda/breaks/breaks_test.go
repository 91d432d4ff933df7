package breaks

import (
	"net/url"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/k8sp/cuda/pkg/kernel"
)

// TestTable holds each row against what the table promises of it.
func TestTable(t *testing.T) {
	t.Parallel()
	names := map[string]bool{}
	for _, b := range All() {
		if names[b.Name] || b.Name == "" {
			t.Errorf("%q is there twice, or has no name", b.Name)
		}
		names[b.Name] = true
		switch {
		case b.Says == "" || strings.HasSuffix(b.Says, "."):
			t.Errorf("%s: %q is no clause", b.Name, b.Says)
		case b.Words.Regexp == nil || b.Words.MatchString(""):
			t.Errorf("%s: its words match anything", b.Name)
		case len(b.Kernels) == 0 || len(b.Drivers) == 0 || len(b.Builds) == 0:
			t.Errorf("%s names no kernels, or no drivers, or none that builds", b.Name)
		case !slices.Contains([]string{"", "open", "proprietary"}, b.Form):
			t.Errorf("%s: %q is no form", b.Name, b.Form)
		case !regexp.MustCompile(`^nvidia(-uvm|-modeset|-drm|-peermem)?$`).MatchString(b.Module):
			t.Errorf("%s: %q is no module", b.Name, b.Module)
		case b.Module == "nvidia-drm" && !slices.Contains(b.Config, "DRM"):
			t.Errorf("%s: a kernel without DRM has nothing of it compiled", b.Name)
		case len(b.Sources) == 0 || len(b.Confirmed) == 0:
			t.Errorf("%s: nobody has seen it", b.Name)
		}
		if !slices.IsSortedFunc(b.Drivers, func(a, b Range) int { return slices.Compare(a.first, b.first) }) {
			t.Errorf("%s: the drivers are not in order", b.Name)
		}
		for _, version := range b.Builds {
			if within(b.Drivers, numbers(version)) || !b.spares(numbers(version)) {
				t.Errorf("%s: %s builds and does not", b.Name, version)
			}
		}
		for _, source := range b.Sources {
			address, _, _ := strings.Cut(source, ": ")
			if u, err := url.Parse(address); err != nil || u.Scheme != "https" || u.Host == "" {
				t.Errorf("%s: %q is no public source", b.Name, source)
			}
		}
		for _, how := range b.Confirmed {
			if !strings.HasPrefix(how, "compiled: ") && !strings.HasPrefix(how, "read: ") {
				t.Errorf("%s: %q says neither that it was compiled nor that it was read", b.Name, how)
			}
		}
	}
	if len(names) < 15 {
		t.Errorf("%d rows are not the table", len(names))
	}
}

func TestFind(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kernel, driver, form string
		without              []string
		want                 string
	}{
		{"6.12.102", "570.86.10", "open", nil, "pci_resize_resource"},
		{"6.12.102", "570.86.10", "proprietary", nil, ""}, // whose nv-pci.c has no such call
		{"6.12.96", "570.86.15", "open", nil, ""},
		{"6.12.97", "570.211.01", "open", nil, "pci_resize_resource"},
		{"6.12.102", "580.126.09", "open", nil, ""},
		{"6.12.102", "580.94.16", "open", nil, ""},
		{"6.12.102", "580.95.05", "open", nil, "pci_resize_resource"},
		{"6.6.144", "535.261.03", "open", nil, ""},
		{"6.6.150", "535.261.03", "open", nil, "pci_resize_resource"},
		{"6.7.12", "535.261.03", "open", nil, ""}, // a line that ended before
		{"6.1.177", "535.261.03", "open", nil, ""},
		{"6.1.178", "535.261.03", "open", nil, "pci_resize_resource"},
		{"6.18.39", "580.119.02", "open", nil, ""},
		{"6.18.40", "580.119.02", "open", nil, "pci_resize_resource"},
		{"6.12.90", "550.54.14", "proprietary", nil, "follow_pfn output_poll_changed"},
		{"6.12.90", "550.54.14", "proprietary", []string{"nvidia-drm"}, "follow_pfn"},
		{"6.12.90", "550.120", "proprietary", nil, ""},
		{"6.9.12", "550.54.14", "open", nil, ""},
		{"6.10.0", "550.54.14", "open", nil, "follow_pfn"},
		{"6.15.2", "570.153.02", "proprietary", nil, "vma_start_write"},
		{"6.15.2", "570.153.02", "open", nil, ""},
		{"6.1.76", "535.154.05", "proprietary", nil, "rcu_read_lock"},
		{"6.1.77", "535.154.05", "proprietary", nil, ""},
		{"7.2.13", "580.142", "open", nil, "of_gpio.h strncpy"},
		{"7.3.0", "610.57.04", "open", nil, ""},
		{"5.15.200", "535.43.02", "open", nil, ""},
	} {
		var names []string
		for _, b := range Find(Pair{Version(c.kernel), c.driver, c.form, c.without}) {
			names = append(names, b.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s on %s, %s without %v: %q, want %q", c.driver, c.kernel, c.form, c.without, got, c.want)
		}
	}
}

func anyVersion(string) bool { return true }

func TestNearest(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		kernel, driver, form string
		others               []string
		want                 string
	}{
		{"6.12.102", "570.86.10", "open", nil, "580.126.09"},
		{"6.12.102", "570.86.10", "open", []string{"580.90.01"}, "580.126.09"}, // which breaks, too
		{"6.12.102", "580.105.08", "open", nil, "580.126.09"},
		{"6.12.90", "550.54.14", "proprietary", nil, "550.120"},
		{"6.12.90", "550.54.14", "proprietary", []string{"550.90.07", "550.127.05", "560.35.03"}, "550.120"},
		{"6.12.90", "535.43.02", "open", nil, "535.216.01"},
		{"6.19.2", "580.126.09", "open", nil, "580.126.18"},
		{"7.0.1", "580.126.20", "proprietary", nil, "580.142"},
		{"7.1.2", "590.48.01", "open", nil, "610.43.02"},
		{"7.2.0", "590.48.01", "open", nil, "610.57.04"},
		{"7.1.2", "595.45.04", "open", []string{"595.71.05", "615.10.01"}, "610.43.02"}, // of the 595 branch nobody has seen one
		{"6.19.2", "570.211.01", "open", []string{"575.99.99", "580.142"}, "580.126.18"},
		{"7.2.0", "999.1", "open", nil, ""},
	} {
		if got := Nearest(Pair{Version(c.kernel), c.driver, c.form, nil}, c.others, anyVersion); got != c.want {
			t.Errorf("%s on %s, %s: %q, want %q", c.driver, c.kernel, c.form, got, c.want)
		}
	}
}

// TestNearestThatDoes has the caller refuse some.
func TestNearestThatDoes(t *testing.T) {
	t.Parallel()
	p := Pair{Kernel: Version("6.12.102"), Driver: "570.86.10", Form: "open"}
	if got := Nearest(p, nil, func(version string) bool { return strings.HasPrefix(version, "590.") }); got != "590.48.01" {
		t.Errorf("%q", got)
	}
}

// TestWords has lines of compilers as they were seen, and the one row whose words each
// is, or none.
func TestWords(t *testing.T) {
	t.Parallel()
	for line, want := range map[string]string{
		"kernel-open/nvidia/nv-pci.c:237:9: error: too few arguments to function ‘pci_resize_resource’":                                                                                                                                                      "pci_resize_resource",
		"nv-pci.c:240:9: error: too few arguments to function 'pci_resize_resource'; expected 4, have 3":                                                                                                                                                     "pci_resize_resource",
		"kernel-open/nvidia/os-mlock.c:36:12: error: implicit declaration of function ‘follow_pfn’; did you mean ‘folio_pfn’? [-Werror=implicit-function-declaration]":                                                                                       "follow_pfn",
		"nvidia-drm/nvidia-drm-drv.c:207:6: error: ‘const struct drm_mode_config_funcs’ has no member named ‘output_poll_changed’":                                                                                                                           "output_poll_changed",
		"ERROR: modpost: GPL-incompatible module nvidia.ko uses GPL-only symbol '__rcu_read_lock'":                                                                                                                                                           "rcu_read_lock",
		"ERROR: modpost: GPL-incompatible module nvidia-drm.ko uses GPL-only symbol '__vma_start_write'":                                                                                                                                                     "vma_start_write",
		"nvidia/nv.c:30:10: fatal error: nv-firmware.h: No such file or directory":                                                                                                                                                                           "EXTRA_CFLAGS",
		"nvidia-uvm/uvm_va_range_device_p2p.c:363:13: error: too many arguments to function 'get_dev_pagemap'; expected 1, have 2":                                                                                                                           "get_dev_pagemap",
		"nvidia/nv-mmap.c:867:24: error: 'VMA_LOCK_OFFSET' undeclared (first use in this function); did you mean 'VGA_CRTC_OFFSET'?":                                                                                                                         "VMA_LOCK_OFFSET",
		"././common/inc/nv-linux.h:1730:10: fatal error: linux/of_gpio.h: No such file or directory":                                                                                                                                                         "of_gpio.h",
		"nvidia/os-interface.c:764:5: error: implicit declaration of function 'strncpy' [-Wimplicit-function-declaration]":                                                                                                                                   "strncpy",
		"common/inc/nv-mm.h:182:20: error: too many arguments to function ‘get_user_pages’":                                                                                                                                                                  "get_user_pages",
		"nvidia/libspdm_ecc.c:220:12: error: implicit declaration of function ‘crypto_akcipher_verify’; did you mean ‘crypto_akcipher_reqtfm’?":                                                                                                              "crypto_akcipher_verify",
		`ERROR: modpost: "drm_gem_prime_handle_to_fd" [/build/nvidia-drm.ko] undefined!`:                                                                                                                                                                     "drm_gem_prime_handle_to_fd",
		"nvidia/nv-dma.c:721:16: error: 'const struct dma_map_ops' has no member named 'map_resource'":                                                                                                                                                       "map_resource",
		"nvidia-drm/nvidia-drm-drv.c:1736:6: error: ‘struct drm_driver’ has no member named ‘date’":                                                                                                                                                          "drm_driver.date",
		"nvidia-drm/nvidia-drm-drv.c:1899:11: error: ‘DRM_UNLOCKED’ undeclared here (not in a function); did you mean ‘VM_LOCKED’?":                                                                                                                          "DRM_UNLOCKED",
		"nvidia-drm/nvidia-drm-connector.c:389:21: error: initialization of ‘enum drm_mode_status (*)(struct drm_connector *, const struct drm_display_mode *)’ from incompatible pointer type ‘int (*)(struct drm_connector *, struct drm_display_mode *)’": "mode_valid",
		"nvidia-drm/nvidia-drm-drv.c:207:19: error: initialization of ‘struct drm_framebuffer * (*)(struct drm_device *, struct drm_file *, const struct drm_format_info *, const struct drm_mode_fb_cmd2 *)’ from incompatible pointer type":                "drm_format_info",
		"nvidia-drm/nvidia-drm-fb.c:309:5: error: too few arguments to function ‘drm_helper_mode_fill_fb_struct’":                                                                                                                                            "drm_format_info",
		"nvidia/nv-dmabuf.c:1687:18: error: expected ‘,’ or ‘;’ before ‘DMA_BUF’":                                                                                                                                                                            "MODULE_IMPORT_NS",
		"nvidia/nv.c:4018:9: error: implicit declaration of function ‘del_timer_sync’; did you mean ‘dev_mc_sync’?":                                                                                                                                          "del_timer_sync",
		"nvidia-uvm/uvm_hmm.c:2102:9: error: too few arguments to function ‘zone_device_page_init’":                                                                                                                                                          "zone_device_page_init",
		"nvidia-uvm/uvm_pmm_gpu.c:3356:6: error: ‘struct dev_pagemap_ops’ has no member named ‘page_free’; did you mean ‘folio_free’?":                                                                                                                       "zone_device_page_init",
		// What only sounds like one.
		"nvidia/nv.c:12:6: error: ‘struct nv_mine’ has no member named ‘validate’":                    "",
		"nvidia/nv.c:12:6: error: ‘struct nv_mine’ has no member named ‘update’":                      "",
		"nvidia/nv.c:12:6: error: ‘struct nv_mine’ has no member named ‘date’":                        "",
		"nvidia/nv.c:12:6: error: ‘struct page_ops’ has no member named ‘page_free_all’":              "",
		"nvidia/nv.c:30:10: fatal error: nv-mine.h: No such file or directory":                        "",
		"nvidia-drm/nvidia-drm-fb.c:212:31: error: conflicting types for ‘nv_drm_framebuffer_create’": "",
		"nvidia-drm/nvidia-drm-drv.c:12:6: error: ‘nv_drm_connector_mode_valid’ undeclared":           "",
		"nvidia/nv.c:12:6: error: implicit declaration of function ‘strncpy_from_user’":               "",
		"nvidia/nv.c:12:6: error: implicit declaration of function ‘try_del_timer_sync’":              "",
		"nvidia/nv.c:12:6: error: too few arguments to function ‘pci_resize_resources’":               "",
		"nvidia/nv.c:1: error: expected ‘;’ before ‘}’ token":                                         "",
		"fatal error: sys/types.h: No such file or directory":                                         "",
		"cc1: out of memory": "",
	} {
		var names []string
		for _, b := range All() {
			if b.Words.MatchString(line) {
				names = append(names, b.Name)
			}
		}
		if got := strings.Join(names, " "); got != want {
			t.Errorf("%s: %q, want %q", line, got, want)
		}
	}
}

// TestExplain: what is known of a pair is told from what its driver has on other
// kernels, and what it has nowhere is not told.
func TestExplain(t *testing.T) {
	t.Parallel()
	const resize = "nv-pci.c:240:9: error: too few arguments to function 'pci_resize_resource'; expected 4, have 3"
	const date = "nvidia-drm-drv.c:1736:6: error: ‘struct drm_driver’ has no member named ‘date’"
	for _, c := range []struct {
		line, kernel, driver, form, want string
		known                            bool
	}{
		{resize, "6.12.102", "570.86.10", "open", "pci_resize_resource", true},
		{resize, "6.12.90", "570.86.10", "open", "pci_resize_resource", false}, // a kernel that has the change early
		{resize, "6.12.102", "570.86.10", "proprietary", "", false},
		{resize, "6.12.102", "580.126.09", "open", "", false},
		{date, "6.14.1", "570.86.10", "open", "drm_driver.date", true},
		{date, "6.1.50", "570.86.10", "open", "drm_driver.date", false},
		{date, "6.1.50", "535.309.01", "open", "", false}, // which sets no such member
		{"cc1: out of memory", "6.14.1", "570.86.10", "open", "", false},
	} {
		b, known, ok := Explain(c.line, Pair{Kernel: Version(c.kernel), Driver: c.driver, Form: c.form})
		if b.Name != c.want || known != c.known || ok != (c.want != "") {
			t.Errorf("%s of %s on %s: %q, known %v, %v; want %q, known %v", c.line, c.driver, c.kernel, b.Name, known, ok, c.want, c.known)
		}
	}
	// A kernel that is not judged by its number.
	if b, known, ok := Explain(resize, Pair{Driver: "570.86.10", Form: "open"}); b.Name != "pci_resize_resource" || known || !ok {
		t.Errorf("%q, known %v, %v", b.Name, known, ok)
	}
}

// TestOf has the kernels of distributions, by what their numbers stand for.
func TestOf(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		release, made, config string
		form, driver, want    string
	}{
		{"6.12.102-flatcar", "6.12.102", "", "open", "570.86.10", "pci_resize_resource"},
		{"6.1.0-57-amd64", "6.1.192", "", "open", "535.261.03", "pci_resize_resource"},
		{"6.1.0-50-amd64", "6.1.176", "", "open", "535.261.03", ""},
		{"6.1.0-57-amd64", "", "", "open", "535.261.03", ""}, // by its release alone it is 6.1.0
		{"6.12.0-55.el10.x86_64", "6.12.0", "", "open", "550.54.14", ""},
		{"5.14.0-427.13.1.el9_4.x86_64", "5.14.0", "", "open", "535.43.02", ""},
		{"7.0.4", "7.0.4", "", "open", "580.126.20", ""},
		{"7.0.4", "7.0.4", "CONFIG_PER_VMA_LOCK=y\n", "open", "580.126.20", "VMA_LOCK_OFFSET"},
		{"6.12.90", "6.12.90", "# CONFIG_DRM is not set\n", "proprietary", "550.90.07", ""}, // whose nvidia-drm is then empty
		{"6.12.90", "6.12.90", "CONFIG_DRM=m\n", "proprietary", "550.90.07", "output_poll_changed"},
		{"6.12.90", "6.12.90", "CONFIG_DRM=y\n", "proprietary", "550.90.07", "output_poll_changed"},
		{"6.17.1", "6.17.1", "# CONFIG_DRM is not set\n", "proprietary", "570.144", "EXTRA_CFLAGS del_timer_sync"},
	} {
		release, err := kernel.ParseRelease(c.release)
		if err != nil {
			t.Fatal(err)
		}
		k := Of(kernel.Target{Release: release, Config: kernel.Config{Version: c.made, Text: []byte(c.config)}})
		var names []string
		for _, b := range Find(Pair{Kernel: k, Driver: c.driver, Form: c.form}) {
			names = append(names, b.Name)
		}
		if got := strings.Join(names, " "); got != c.want {
			t.Errorf("%s on %s: %q, want %q", c.driver, c.release, got, c.want)
		}
	}
}

func TestRange(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]string{
		"6.12.97..6.12": "6.12 from 6.12.97 on", "6.19..": "6.19 and later", "6.6.15..6.6.15": "6.6.15", "6.1..6.3": "6.1 to 6.3",
	} {
		var r Range
		if err := r.UnmarshalText([]byte(text)); err != nil || r.String() != want {
			t.Errorf("%s: %s, want %s (%v)", text, r, want, err)
		}
	}
	for _, text := range []string{"", "6", "6.12.97", "6.12.97..6.11", "6.1..x", "..6.1", "6.1.2.3.4..", "6.2..6.1.9"} {
		if err := new(Range).UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q is taken for a range", text)
		}
	}
}
