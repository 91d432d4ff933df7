package userspace

import (
	"fmt"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// Where drivers are installed that ldconfig does not know of, or where no
// cache of its is there: distributions' folders, NVIDIA's of container hosts,
// and Flatcar's.
var (
	libraryDirs = []string{
		"usr/lib64", "usr/lib/x86_64-linux-gnu", "usr/lib/aarch64-linux-gnu", "usr/lib", "usr/lib64/nvidia", "usr/lib/nvidia",
		"usr/lib/x86_64-linux-gnu/nvidia/current",
		"usr/local/nvidia/lib64", "usr/local/nvidia/lib", "opt/nvidia/current/usr/lib64", "opt/nvidia/current/lib64", "opt/nvidia/lib64",
		"run/nvidia/driver/usr/lib64", "run/nvidia/driver/usr/lib/x86_64-linux-gnu", "home/kubernetes/bin/nvidia/lib64",
	}
	programDirs = []string{
		"usr/bin", "usr/local/nvidia/bin", "opt/nvidia/current/usr/bin", "opt/nvidia/current/bin", "opt/nvidia/bin", "opt/bin",
		"run/nvidia/driver/usr/bin", "home/kubernetes/bin/nvidia/bin",
	}
	programs = []string{"nvidia-cuda-mps-control", "nvidia-cuda-mps-server", "nvidia-debugdump", "nvidia-persistenced", "nvidia-smi"}
)

// Discover finds the user-space side of a driver that somebody else installed
// on a host: what serves to compute, of exactly the version. Its error is of
// the load stage.
func Discover(root *kernel.Root, version string) (Root, error) {
	r := Root{Dir: root.Dir(), Version: version}
	dirs := libraryDirs
	if dir := cachedDir(root, version); dir != "" {
		dirs = append([]string{dir}, dirs...)
	}
	i := slices.IndexFunc(dirs, func(dir string) bool { return root.Exists(path.Join(dir, "libcuda.so."+version)) })
	if i < 0 {
		return Root{}, stage.New(stage.Load, fmt.Sprintf("no libcuda.so.%s of the driver that is loaded is on the host", version),
			"mount the host's folder with it below /host, such as -v /opt/nvidia:/host/opt/nvidia:ro, or build the user-space side of this version (builder build)")
	}
	r.Items = libraries(root, dirs[i], version)
	for _, name := range programs {
		for _, dir := range programDirs {
			if file := path.Join(dir, name); isFile(root, file) {
				r.Items = append(r.Items, Item{Kind: Program, Path: file, Names: []string{name}})
				break
			}
		}
	}
	if icd := "etc/OpenCL/vendors/nvidia.icd"; isFile(root, icd) {
		r.Items = append(r.Items, Item{Kind: Data, Path: icd, Names: []string{path.Base(icd)}})
	}
	slices.SortFunc(r.Items, func(a, b Item) int { return strings.Compare(a.Path, b.Path) })
	return r, nil
}

// libraries are a folder's that compute, with the links beside them that lead
// to them.
func libraries(root *kernel.Root, dir, version string) []Item {
	folder, err := root.Path(dir)
	if err != nil {
		return nil
	}
	entries, err := os.ReadDir(folder)
	if err != nil {
		return nil
	}
	targets := map[string]string{}
	for _, e := range entries {
		if target, err := os.Readlink(filepath.Join(folder, e.Name())); err == nil && e.Type()&fs.ModeSymlink != 0 {
			// An absolute target may name the same folder by a link to it.
			if path.IsAbs(target) {
				target = path.Base(target)
			}
			targets[path.Join(dir, e.Name())] = path.Join(dir, target)
		}
	}
	var items []Item
	for _, e := range entries {
		if !e.Type().IsRegular() || !computes(e.Name()) || !ofVersion(e.Name(), version) {
			continue
		}
		file := path.Join(dir, e.Name())
		items = append(items, Item{Kind: Library, Path: file, Names: namesOf(file, targets)})
	}
	return items
}

// ofVersion says whether a library is of a driver, by its file's name. A few
// have a version of their own, as libnvidia-nvvm70.so.4.
func ofVersion(name, version string) bool {
	_, suffix, _ := strings.Cut(name, ".so.")
	return suffix == version || !strings.Contains(suffix, ".")
}

func isFile(root *kernel.Root, name string) bool {
	file, err := root.Path(name)
	if err != nil {
		return false
	}
	info, err := os.Stat(file)
	return err == nil && info.Mode().IsRegular()
}

// cachedDir is the folder in which the loader of the host finds libcuda of the
// version, by its cache; "" where it does not say.
func cachedDir(root *kernel.Root, version string) string {
	cache, err := root.ReadFile("etc/ld.so.cache")
	if err != nil {
		return ""
	}
	for _, file := range cachedPaths(cache, "libcuda.so.1") {
		// Debian's is a link to a folder of its own, by way of /etc/alternatives.
		real, err := root.Path(file)
		if err != nil {
			continue
		}
		dir, err := filepath.Rel(root.Dir(), filepath.Dir(real))
		if err == nil && root.Exists(path.Join(filepath.ToSlash(dir), "libcuda.so."+version)) {
			return filepath.ToSlash(dir)
		}
	}
	return ""
}
