package userspace

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/k8sp/cuda/internal/makeself/makeselftest"
	"github.com/k8sp/cuda/pkg/cuda"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/share"
	"github.com/k8sp/cuda/pkg/stage"
)

const version = "535.261.03"

var lines = fmt.Sprintf(head, version) + `nvidia-installer 0755 INSTALLER_BINARY MODULE:installer
libcuda.so.535.261.03 0755 CUDA_LIB NATIVE / MODULE:gpgpu
libcuda.so.1 0000 CUDA_SYMLINK NATIVE / libcuda.so.535.261.03 MODULE:gpgpu
libcuda.so 0000 CUDA_SYMLINK NATIVE / libcuda.so.1 MODULE:gpgpu
libnvidia-nvvm.so.535.261.03 0755 CUDA_LIB NATIVE / MODULE:gpgpucomp
nvidia-smi 0755 UTILITY_BINARY MODULE:nvml
nvidia.icd 0644 CUDA_ICD MODULE:gpgpu
libGLX_nvidia.so.535.261.03 0755 OPENGL_LIB NATIVE MODULE:opengl
`

// files are a package's, of which one is a real library.
func files(t *testing.T) map[string]string {
	t.Helper()
	nvvm, err := os.ReadFile(filepath.Join("testdata", "nvvm.so"))
	if err != nil {
		t.Fatal(err)
	}
	return map[string]string{
		".manifest": lines, "nvidia-installer": "installer", "libcuda.so." + version: "the library", "libnvidia-nvvm.so." + version: string(nvvm),
		"nvidia-smi": "program", "nvidia.icd": "libnvidia-opencl.so.1\n", "libGLX_nvidia.so." + version: "display",
	}
}

// shelf is a share, and a package in the given form to lay out in it.
func shelf(t *testing.T, kind cuda.Kind, files map[string]string) Options {
	t.Helper()
	s, err := share.Open(t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	o := Options{Share: s, Scratch: filepath.Join(s.Private(), "scratch"), Digest: "sha256:" + strings.Repeat("0", 64)}
	if err := os.MkdirAll(o.Scratch, 0o755); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(t.TempDir(), "NVIDIA-Linux-x86_64-"+version)
	if kind == cuda.RunFile {
		path += ".run"
		var members []makeselftest.Member
		for name, text := range files {
			members = append(members, makeselftest.Member{Name: "./" + name, Content: text})
		}
		data := makeselftest.Run{Version: version, Arch: "x86_64", Payload: makeselftest.Zstd(t, makeselftest.Tar(t, members...))}.Bytes()
		if err := os.WriteFile(path, data, 0o644); err != nil {
			t.Fatal(err)
		}
	} else {
		for name, text := range files {
			if err := os.MkdirAll(path, 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(path, name), []byte(text), 0o600); err != nil {
				t.Fatal(err)
			}
		}
	}
	o.Package = cuda.Package{Path: path, Kind: kind, Version: version, Arch: kernel.X86_64}
	return choose(t, o, Compute)
}

func choose(t *testing.T, o Options, part string) Options {
	t.Helper()
	c, err := cuda.Inspect(t.Context(), o.Package, filepath.Join(o.Scratch, "inspect"))
	if err != nil {
		t.Fatal(err)
	}
	o.Choice = Choose(t.Context(), c, part)
	return o
}

func lay(t *testing.T, o Options) Root {
	t.Helper()
	r, err := Publish(t.Context(), o)
	if err != nil {
		t.Fatal(err)
	}
	if left, err := os.ReadDir(o.Scratch); err != nil || len(left) != 0 {
		t.Errorf("scratch holds %v, %v", left, err)
	}
	return r
}

// tree is all that is in a folder.
func tree(t *testing.T, dir string) []string {
	t.Helper()
	dir, err := filepath.EvalSymlinks(dir)
	if err != nil {
		t.Fatal(err)
	}
	var all []string
	err = filepath.WalkDir(dir, func(path string, e fs.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		info, err := e.Info()
		name, _ := filepath.Rel(dir, path)
		text := info.Mode().String() + " " + name
		if target, err := os.Readlink(path); err == nil {
			text = name + " -> " + target
		}
		all = append(all, text)
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	return all
}

var laidOut = []string{
	"-rw-r--r-- etc/OpenCL/vendors/nvidia.icd",
	"-rw-r--r-- manifest.json",
	"-rwxr-xr-x usr/bin/nvidia-smi",
	"usr/lib64/libcuda.so -> libcuda.so.1",
	"usr/lib64/libcuda.so.1 -> libcuda.so.535.261.03",
	"-rwxr-xr-x usr/lib64/libcuda.so.535.261.03",
	"-rwxr-xr-x usr/lib64/libnvidia-nvvm.so.4",
	"-rwxr-xr-x usr/lib64/libnvidia-nvvm.so.535.261.03",
}

func TestPublish(t *testing.T) {
	t.Parallel()
	want := append([]string{}, laidOut...)
	want[6] = "usr/lib64/libnvidia-nvvm.so.4 -> libnvidia-nvvm.so.535.261.03" // by its soname
	items := []Item{
		{Data, "etc/OpenCL/vendors/nvidia.icd", []string{"nvidia.icd"}},
		{Program, "usr/bin/nvidia-smi", []string{"nvidia-smi"}},
		{Library, "usr/lib64/libcuda.so.535.261.03", []string{"libcuda.so", "libcuda.so.1", "libcuda.so.535.261.03"}},
		{Library, "usr/lib64/libnvidia-nvvm.so.535.261.03", []string{"libnvidia-nvvm.so.4", "libnvidia-nvvm.so.535.261.03"}},
	}
	var texts []string
	for _, kind := range []cuda.Kind{cuda.Folder, cuda.RunFile} {
		t.Run(string(kind), func(t *testing.T) {
			o := shelf(t, kind, files(t))
			before := tree(t, filepath.Dir(o.Package.Path))
			r := lay(t, o)
			dir := filepath.Join(o.Share.Dir(), "driver", version)
			if diff := cmp.Diff(want, tree(t, dir)); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(Root{Dir: dir, Version: version, Items: items}, r); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(before, tree(t, filepath.Dir(o.Package.Path))); diff != "" {
				t.Errorf("the package was changed: %s", diff)
			}
			found, err := Find(o.Share, version, nil)
			if diff := cmp.Diff(r, found); err != nil || diff != "" {
				t.Errorf("%v %s", err, diff)
			}
			text, err := os.ReadFile(filepath.Join(dir, ManifestFile))
			if err != nil {
				t.Fatal(err)
			}
			texts = append(texts, string(text))
		})
	}
	if len(texts) == 2 && texts[0] != texts[1] {
		t.Error(cmp.Diff(texts[0], texts[1]))
	}
}

func TestPublishAll(t *testing.T) {
	t.Parallel()
	o := choose(t, shelf(t, cuda.RunFile, files(t)), All)
	r := lay(t, o)
	if !strings.Contains(fmt.Sprint(r.Items), "libGLX_nvidia") {
		t.Errorf("no display: %v", r.Items)
	}
	// Less of it, later.
	if r := lay(t, choose(t, o, Compute)); strings.Contains(fmt.Sprint(r.Items), "libGLX_nvidia") {
		t.Errorf("still a display: %v", r.Items)
	}
	if left, err := os.ReadDir(o.Share.Drivers()); err != nil || len(left) != 2 {
		t.Errorf("there are %v, %v", left, err)
	}
}

func TestPublishOfAThinnedFolder(t *testing.T) {
	t.Parallel()
	thin := files(t)
	delete(thin, "libcuda.so."+version)
	o := shelf(t, cuda.Folder, thin)
	if diff := cmp.Diff([]string{"libcuda.so." + version}, o.Choice.Absent); diff != "" {
		t.Error(diff)
	}
	lay(t, o)
	_, err := Find(o.Share, version, nil)
	wantLoadError(t, err, "has no libcuda.so."+version)
	if !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("%v is not that there is none", err)
	}
}

func TestFindRefuses(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		spoil func(dir string) error
		want  string
	}{
		"nothing there": {os.RemoveAll, "has no user-space side"},
		"altered": {func(dir string) error {
			return os.WriteFile(filepath.Join(dir, "usr/lib64/libcuda.so."+version), []byte("a virus!!!!"), 0o755)
		}, "is damaged: usr/lib64/libcuda.so.535.261.03 has digest"},
		"a link gone":          {func(dir string) error { return os.Remove(filepath.Join(dir, "usr/lib64/libcuda.so.1")) }, "is damaged"},
		"no manifest of ours":  {manifestIs("[]"), "not a manifest"},
		"a later schema":       {manifestIs(`{"schema": 2}`), "schema 2"},
		"modules' manifest":    {manifestIs(`{"schema": 1, "modules": []}`), "its part is"},
		"another driver's":     {manifestIs(`{"schema": 1, "part": "compute", "version": "1.2"}`), "holds the files of 1.2"},
		"a file out of it":     {manifestIs(`{"schema": 1, "part": "compute", "version": "` + version + `", "files": [{"file": "../x", "mode": "0644"}]}`), "not one of its folder"},
		"a mode that is none":  {manifestIs(`{"schema": 1, "part": "compute", "version": "` + version + `", "files": [{"file": "x", "mode": "4755"}]}`), "the mode"},
		"a link out of it":     {manifestIs(`{"schema": 1, "part": "compute", "version": "` + version + `", "links": [{"file": "x", "target": "../../etc/passwd"}]}`), "leads out"},
		"a link to a root":     {manifestIs(`{"schema": 1, "part": "compute", "version": "` + version + `", "links": [{"file": "x", "target": "/etc/passwd"}]}`), "leads out"},
		"a manifest too large": {manifestIs(strings.Repeat(" ", maxManifest+1)), "more than"},
	} {
		t.Run(name, func(t *testing.T) {
			o := shelf(t, cuda.RunFile, files(t))
			lay(t, o)
			if err := c.spoil(filepath.Join(o.Share.Drivers(), version)); err != nil {
				t.Fatal(err)
			}
			_, err := Find(o.Share, version, nil)
			wantLoadError(t, err, c.want)
			if errors.Is(err, fs.ErrNotExist) != (name == "nothing there") && name != "a link gone" {
				t.Errorf("not there: %v", err)
			}
			lay(t, o)
			if _, err := Find(o.Share, version, nil); err != nil {
				t.Errorf("laid out again: %v", err)
			}
		})
	}
}

func manifestIs(text string) func(string) error {
	return func(dir string) error { return os.WriteFile(filepath.Join(dir, ManifestFile), []byte(text), 0o644) }
}

func TestPublishRefuses(t *testing.T) {
	t.Parallel()
	o := shelf(t, cuda.RunFile, files(t))
	lay(t, o)
	before := tree(t, o.Share.Drivers())
	for name, c := range map[string]struct {
		change func(o *Options)
		code   int
		want   string
	}{
		"a version that is none": {func(o *Options) { o.Package.Version = "../../etc" }, 16, "is not a driver's version"},
		"a package gone":         {func(o *Options) { o.Package.Path += ".gone" }, 11, "no such file"},
		"no scratch":             {func(o *Options) { o.Scratch = filepath.Join(o.Share.Dir(), "absent") + "\x00" }, 11, "invalid argument"},
	} {
		t.Run(name, func(t *testing.T) {
			other := o
			c.change(&other)
			_, err := Publish(t.Context(), other)
			if stage.ExitCode(err) != c.code || !strings.Contains(fmt.Sprint(err), c.want) {
				t.Errorf("exit code %d: %v", stage.ExitCode(err), err)
			}
			if diff := cmp.Diff(before, tree(t, o.Share.Drivers())); diff != "" {
				t.Error(diff)
			}
		})
	}
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := Publish(ctx, o); stage.ExitCode(err) != 130 {
		t.Errorf("interrupted: %v", err)
	}
}

// Whether a root could be published is told before the work, and told without it.
func TestReady(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name, version string
		there         func(link string) error
		want          string // of the error; none where it is empty
	}{
		{"nothing there", version, func(string) error { return nil }, ""},
		{"a link", version, func(link string) error { return os.Symlink("elsewhere", link) }, ""},
		{"a folder", version, func(link string) error { return os.Mkdir(link, 0o755) }, "is not a link that builder made, so it is not replaced"},
		{"no version", "..", func(string) error { return nil }, `".." is not a driver's version, so its user-space side has no place`},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			s, err := share.Open(t.TempDir())
			if err != nil {
				t.Fatal(err)
			}
			if err := errors.Join(os.MkdirAll(s.Drivers(), 0o755), tt.there(filepath.Join(s.Drivers(), version))); err != nil {
				t.Fatal(err)
			}
			scratch, before := t.TempDir(), tree(t, s.Dir())
			for what, err := range map[string]error{"vacant": Vacant(s, tt.version), "ready": Ready(s, scratch, tt.version)} {
				code := 0
				if tt.want != "" {
					code = 16
				}
				if stage.ExitCode(err) != code || !strings.Contains(fmt.Sprint(err), tt.want) {
					t.Errorf("%s: exit code %d, %v, want %d, %q", what, stage.ExitCode(err), err, code, tt.want)
				}
			}
			if diff := cmp.Diff(before, tree(t, s.Dir())); diff != "" {
				t.Errorf("the share was changed: %s", diff)
			}
			if left := tree(t, scratch); left != nil {
				t.Errorf("scratch holds %v", left)
			}
		})
	}
}

// The links that lead to a file, over others too, are names of it; a circle's are
// of none.
func TestNames(t *testing.T) {
	t.Parallel()
	const lib = "usr/lib64/liba.so.1.2"
	got := rootOf("/share/driver/1.2", Manifest{Version: "1.2", Files: []File{{Path: "usr/bin/a"}, {Path: "usr/bin/liba.so"}, {Path: lib}, {Path: "usr/lib64/a.json"}, {Path: "usr/lib64/gbm/b.so"}}, Links: []Link{
		{Path: "usr/lib64/liba.so", Target: "liba.so.1"}, {Path: "usr/lib64/liba.so.1", Target: "liba.so.1.2"},
		{Path: "usr/lib64/gbm/a.so", Target: "../liba.so.1.2"},
		{Path: "usr/lib64/x.so", Target: "y.so"}, {Path: "usr/lib64/y.so", Target: "x.so"},
	}})
	want := Root{Dir: "/share/driver/1.2", Version: "1.2", Items: []Item{
		{Program, "usr/bin/a", []string{"a"}},
		{Program, "usr/bin/liba.so", []string{"liba.so"}},
		{Library, lib, []string{"liba.so", "liba.so.1", "liba.so.1.2"}},
		{Data, "usr/lib64/a.json", []string{"a.json"}},
		{Data, "usr/lib64/gbm/b.so", []string{"b.so"}},
	}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("root (-want +got):\n%s", diff)
	}
}

// A library of the version is enough, be there others or not.
func TestAgrees(t *testing.T) {
	t.Parallel()
	lib := func(kind Kind, name string) Item { return Item{Kind: kind, Path: "usr/lib64/" + name} }
	for _, tt := range []struct {
		name  string
		items []Item
		want  string // of the error; none where it is empty
	}{
		{"the first", []Item{lib(Library, "libcuda.so.1.2"), lib(Library, "libcuda.so.1.3")}, ""},
		{"the last", []Item{lib(Library, "libcuda.so.1.3"), lib(Library, "libcuda.so.1.2")}, ""},
		{"another's", []Item{lib(Library, "liba.so.1.2"), lib(Library, "libcuda.so.1.3")}, "the loaded module is of driver 1.2 and the libcuda in /root of 1.3, which do not work with each other"},
		{"none", []Item{lib(Library, "liba.so.1.2")}, "/root has no libcuda.so.1.2, which programs need to use the GPU"},
		{"no library", []Item{lib(Data, "libcuda.so.1.2"), lib(Program, "libcuda.so.1.3")}, "/root has no libcuda.so.1.2, which programs need to use the GPU"},
	} {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			err := Root{Dir: "/root", Items: tt.items}.Agrees("1.2")
			if tt.want == "" {
				if err != nil {
					t.Error(err)
				}
				return
			}
			wantLoadError(t, err, tt.want)
			if none := strings.Contains(tt.want, "has no"); errors.Is(err, fs.ErrNotExist) != none {
				t.Errorf("there is none: %v, want %v", !none, none)
			}
		})
	}
}

func wantLoadError(t *testing.T, err error, text string) {
	t.Helper()
	var e *stage.Error
	if !errors.As(err, &e) || e.Stage != stage.Load || e.Hint == "" || !strings.Contains(err.Error(), text) {
		t.Errorf("the error is %v, want one of load with %q", err, text)
	}
}
