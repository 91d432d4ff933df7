package userspace

import (
	"bytes"
	"encoding/binary"
	"os"
	"path/filepath"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/testkit"
	"github.com/k8sp/cuda/pkg/kernel"
)

// host is a host root with these files.
func host(t *testing.T, files map[string]string) *kernel.Root {
	t.Helper()
	root, err := kernel.OpenRoot(testkit.WriteTree(t, files))
	if err != nil {
		t.Fatal(err)
	}
	return root
}

func TestDiscover(t *testing.T) {
	t.Parallel()
	const v = "580.159.04"
	cache, err := os.ReadFile(filepath.Join("testdata", "ld.so.cache"))
	if err != nil {
		t.Fatal(err)
	}
	// As the machine has it that devicestest recorded.
	container := map[string]string{
		"usr/local/nvidia/lib64/libcuda.so." + v: "x", "usr/local/nvidia/lib64/libcuda.so.1": "-> libcuda.so." + v, "usr/local/nvidia/lib64/libcuda.so": "-> libcuda.so.1",
		"usr/local/nvidia/lib64/libnvidia-ml.so." + v: "x", "usr/local/nvidia/lib64/libnvidia-ml.so.1": "-> libnvidia-ml.so." + v,
		"usr/local/nvidia/lib64/libnvidia-nvvm70.so.4": "x", "usr/local/nvidia/lib64/libnvidia-glcore.so." + v: "display",
		"usr/local/nvidia/lib64/libnvidia-opencl.so.535.1": "an older driver's", "usr/local/nvidia/lib64/loop.so": "-> loop.so",
		"usr/local/nvidia/bin/nvidia-smi": "x",
	}
	items := []Item{
		{Program, "usr/local/nvidia/bin/nvidia-smi", []string{"nvidia-smi"}},
		{Library, "usr/local/nvidia/lib64/libcuda.so." + v, []string{"libcuda.so", "libcuda.so.1", "libcuda.so." + v}},
		{Library, "usr/local/nvidia/lib64/libnvidia-ml.so." + v, []string{"libnvidia-ml.so.1", "libnvidia-ml.so." + v}},
		{Library, "usr/local/nvidia/lib64/libnvidia-nvvm70.so.4", []string{"libnvidia-nvvm70.so.4"}},
	}
	with := func(base map[string]string, more map[string]string) map[string]string {
		all := map[string]string{}
		for _, m := range []map[string]string{base, more} {
			for name, text := range m {
				all[name] = text
			}
		}
		return all
	}
	for _, c := range []struct {
		name  string
		files map[string]string
		want  []Item
	}{
		{"NVIDIA's folder", container, items},
		{"by the loader's cache, beside another", with(container, map[string]string{
			"etc/ld.so.cache": string(cache), "usr/lib64/libcuda.so." + v: "left behind", "etc/OpenCL/vendors/nvidia.icd": "libnvidia-opencl.so.1\n",
		}), append([]Item{{Data, "etc/OpenCL/vendors/nvidia.icd", []string{"nvidia.icd"}}}, items...)},
		{"a cache that is none", with(container, map[string]string{"etc/ld.so.cache": cacheMagic}), items},
		{"Debian's links", map[string]string{
			"etc/ld.so.cache":                        string(cache),
			"usr/local/nvidia/lib64/libcuda.so.1":    "-> /etc/alternatives/cuda",
			"etc/alternatives/cuda":                  "-> /opt/debian/libcuda.so.1",
			"opt/debian/libcuda.so.1":                "-> libcuda.so." + v,
			"opt/debian/libcuda.so." + v:             "x",
			"usr/bin/nvidia-smi":                     "-> /opt/debian/nvidia-smi",
			"opt/debian/nvidia-smi":                  "x",
			"usr/lib/x86_64-linux-gnu/libcuda.so.1":  "-> ../../local/nvidia/lib64/libcuda.so.1",
			"usr/lib/x86_64-linux-gnu/unrelated.so.": "x",
		}, []Item{
			{Library, "opt/debian/libcuda.so." + v, []string{"libcuda.so.1", "libcuda.so." + v}},
			{Program, "usr/bin/nvidia-smi", []string{"nvidia-smi"}},
		}},
		{"Flatcar's", map[string]string{"opt/nvidia/current": "-> nvidia-" + v, "opt/nvidia/nvidia-" + v + "/usr/lib64/libcuda.so." + v: "x"}, []Item{
			{Library, "opt/nvidia/current/usr/lib64/libcuda.so." + v, []string{"libcuda.so." + v}},
		}},
	} {
		t.Run(c.name, func(t *testing.T) {
			root := host(t, c.files)
			got, err := Discover(root, v)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(Root{Dir: root.Dir(), Version: v, Items: c.want}, got); diff != "" {
				t.Error(diff)
			}
			if err := got.Agrees(v); err != nil {
				t.Error(err)
			}
			wantLoadError(t, got.Agrees("550.1"), "of driver 550.1 and the libcuda in "+root.Dir()+" of "+v)
		})
	}
	_, err = Discover(host(t, container), "550.1")
	wantLoadError(t, err, "no libcuda.so.550.1")
}

func TestCachedPaths(t *testing.T) {
	t.Parallel()
	cache, err := os.ReadFile(filepath.Join("testdata", "ld.so.cache"))
	if err != nil {
		t.Fatal(err)
	}
	want := []string{"/usr/local/nvidia/lib64/libcuda.so.1"}
	if diff := cmp.Diff(want, cachedPaths(cache, "libcuda.so.1")); diff != "" {
		t.Error(diff)
	}
	older := append([]byte("ld.so-1.7.0\x00\x00\x00\x00\x00"), cache...)
	if diff := cmp.Diff(want, cachedPaths(older, "libcuda.so.1")); diff != "" {
		t.Errorf("behind the old format: %s", diff)
	}
	if got := cachedPaths(cache, "libcuda.so"); got != nil {
		t.Errorf("libcuda.so: %v", got)
	}
	for n := range cache {
		cachedPaths(cache[:n], "libcuda.so.1") // whatever is cut off
	}
	lying := append([]byte{}, cache...)
	for i := len(cacheMagic); i < len(cacheMagic)+4; i++ {
		lying[i] = 0xff
	}
	if got := cachedPaths(lying, "libcuda.so.1"); got != nil {
		t.Errorf("four billion entries: %v", got)
	}
}

// cacheOf is a loader's cache of these sonames and files, as ldconfig writes it.
func cacheOf(entries ...[2]string) []byte {
	order := binary.NativeEndian
	cache := []byte(cacheMagic)
	cache = order.AppendUint32(cache, uint32(len(entries)))
	cache = append(cache, make([]byte, cacheHeader-len(cache))...)
	end := uint32(cacheHeader + cacheEntry*len(entries))
	var text []byte
	for _, e := range entries {
		cache = order.AppendUint32(cache, 1) // an ELF library
		for _, name := range e {
			cache = order.AppendUint32(cache, end+uint32(len(text)))
			text = append(text, name+"\x00"...)
		}
		cache = append(cache, make([]byte, cacheEntry-12)...)
	}
	return append(cache, text...)
}

func TestCachedPathsOfSeveral(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name  string
		cache []byte
		want  []string
	}{
		{"no entry", cacheOf(), nil},
		{"another library's", cacheOf([2]string{"libc.so.6", "/lib/libc.so.6"}), nil},
		{"strings shorter than an entry", cacheOf([2]string{"libcuda.so.1", "/lib/a"}), []string{"/lib/a"}},
		{"in the cache's order, among others", cacheOf(
			[2]string{"libcrypt.so.1", "/lib/libcrypt.so.1"}, [2]string{"libcuda.so.1", "/usr/lib64/libcuda.so.1"},
			[2]string{"libcuda.so", "/lib/libcuda.so"}, [2]string{"libcuda.so.1", "/lib/libcuda.so.1"}, [2]string{"libcuda.so.12", "/lib/libcuda.so.12"},
		), []string{"/usr/lib64/libcuda.so.1", "/lib/libcuda.so.1"}},
		{"a path without an end", bytes.TrimSuffix(cacheOf([2]string{"libcuda.so.1", "/lib/a"}), []byte{0}), nil},
		{"an entry that is cut", cacheOf([2]string{"libcuda.so.1", "/lib/a"})[:cacheHeader+cacheEntry-1], nil},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			if diff := cmp.Diff(tt.want, cachedPaths(tt.cache, "libcuda.so.1")); diff != "" {
				t.Errorf("paths (-want +got):\n%s", diff)
			}
		})
	}
}

// What is no file of the host's is left out.
func TestDiscoverLeavesOut(t *testing.T) {
	t.Parallel()
	root := host(t, map[string]string{
		"usr/lib64/libcuda.so.1.2": "x", "usr/bin/nvidia-smi/x": "a folder", "opt/bin/nvidia-smi": "x", "usr/bin/nvidia-debugdump": "-> /nowhere",
		"etc/OpenCL/vendors/nvidia.icd": "-> nvidia.icd",
	})
	got, err := Discover(root, "1.2")
	if err != nil {
		t.Fatal(err)
	}
	want := []Item{{Program, "opt/bin/nvidia-smi", []string{"nvidia-smi"}}, {Library, "usr/lib64/libcuda.so.1.2", []string{"libcuda.so.1.2"}}}
	if diff := cmp.Diff(want, got.Items); diff != "" {
		t.Errorf("items (-want +got):\n%s", diff)
	}
	if got := libraries(root, "nowhere", "1.2"); got != nil {
		t.Errorf("a folder that is not there has %v", got)
	}
}

func TestOfVersion(t *testing.T) {
	t.Parallel()
	for name, want := range map[string]bool{
		"libcuda.so.535.261.03": true, "libcuda.so.535.1": false, "libnvidia-nvvm70.so.4": true, "libcuda.so": true, "libcuda.so.535.261.03.1": false,
	} {
		if got := ofVersion(name, "535.261.03"); got != want {
			t.Errorf("%s: %v", name, got)
		}
	}
}
