package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"

	"golang.org/x/sys/unix"
)

// errReported is a failure whose words are in the log already.
var errReported = errors.New("reported")

// complaint is an error in the real installer's words, which are sentences.
type complaint string

func (c complaint) Error() string { return string(c) }

func complain(format string, args ...any) error { return complaint(fmt.Sprintf(format, args...)) }

// pack is what the package's .manifest says of it.
type pack struct {
	description, version string
	modules              []string
	buildDir             string
	excluded             []string
}

// optional are the modules that can be left out, and what for.
var optional = []struct{ module, option, purpose string }{
	{"nvidia-uvm", "no-unified-memory", "CUDA"},
	{"nvidia-drm", "no-drm", "DRM-KMS"},
	{"nvidia-peermem", "no-peermem", "GPUDirect RDMA p2p memory sharing"},
}

// install builds the modules and puts them into place, step by step in the
// real installer's order.
func (i *installer) install() error {
	if i.uid != 0 {
		return complain("nvidia-installer must be run as root")
	}
	p, err := i.readManifest()
	if err != nil {
		return err
	}
	if !i.has("kernel-modules-only") && !i.has("kernel-module-only") {
		return complain("This stand-in for tests can only be run with --kernel-modules-only.")
	}
	i.step(fmt.Sprintf("Installing NVIDIA driver version %s.", p.version))
	if err := i.checkRecord(p); err != nil {
		return err
	}
	for _, o := range optional {
		if i.has(o.option) && slices.Contains(p.modules, o.module) {
			i.warning(fmt.Sprintf("The %s module will not be installed. As a result, %s will not function with this installation of the NVIDIA driver.", o.module, o.purpose))
			p.modules = slices.DeleteFunc(p.modules, func(m string) bool { return m == o.module })
			p.excluded = append(p.excluded, o.module)
		}
	}
	if err := i.checkModprobe(); err != nil {
		return err
	}
	if err := i.checkTrees(); err != nil {
		return err
	}
	if err := i.build(p); err != nil {
		return err
	}
	i.step("Kernel module compilation complete.")
	if i.value("kernel-name", i.running) == i.running {
		return complain("Unable to load the kernel module 'nvidia.ko'.  (The real installer test-loads modules for the running kernel; this stand-in never loads any.)")
	}
	i.step(fmt.Sprintf("Installing '%s' (%s):", p.description, p.version))
	if err := i.copyModules(p); err != nil {
		return err
	}
	i.step("done.")
	i.step("Driver file installation is complete.")
	i.step(fmt.Sprintf("Installation of the kernel module for the %s (version: %s) is now complete.", p.description, p.version))
	return nil
}

// readManifest reads the first eight lines of the package's .manifest.
func (i *installer) readManifest() (pack, error) {
	text, err := os.ReadFile(filepath.Join(filepath.Dir(i.program), ".manifest"))
	if err != nil {
		return pack{}, complain("No package found for installation.  Please run this utility with the '--help' option for usage information.")
	}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 9 || len(strings.Fields(lines[3])) == 0 {
		return pack{}, complain("Invalid .manifest file; error on line 4.")
	}
	return pack{
		description: lines[0],
		version:     lines[1],
		modules:     strings.Fields(lines[3]),
		buildDir:    strings.TrimRight(i.value("kernel-module-build-directory", lines[6]), "/"),
	}, nil
}

// checkRecord insists on the record of an installed driver of this version.
func (i *installer) checkRecord(p pack) error {
	text, err := os.ReadFile(i.record)
	lines := strings.Split(string(text), "\n")
	if err != nil || len(lines) < 2 {
		return complain("No NVIDIA driver is currently installed; the '--kernel-modules-only' option can only be used to install the NVIDIA kernel modules on top of an existing driver installation.")
	}
	if lines[0] != p.version {
		return complain("The '--kernel-modules-only' option can only be used to install kernel modules on top of an existing driver installation of the same driver version.  The existing driver installation is %s, but the kernel modules are %s.", lines[0], p.version)
	}
	return nil
}

// checkModprobe insists that what the kernel loads modules with is here. The real
// one only warns where it is there and not what it would have taken itself.
func (i *installer) checkModprobe() error {
	text, err := os.ReadFile(i.helper)
	switch path := strings.TrimSpace(string(text)); {
	case err != nil && unix.Access("/sbin/modprobe", unix.X_OK) != nil:
		return complain("The file '%s' is unavailable; the X server will use `/sbin/modprobe` as the path to the `modprobe` utility.  `/sbin/modprobe` does not appear to point to a valid `modprobe` binary.", i.helper)
	case err == nil && unix.Access(path, unix.X_OK) != nil:
		return complain("The path to the `modprobe` utility reported by '%s', `%s`, differs from the path determined by `nvidia-installer`, `/sbin/modprobe`, and does not appear to point to a valid `modprobe` binary.  Please correct the path in '%[1]s'.", i.helper, path)
	}
	return nil
}

// trees are the kernel's source and output tree.
func (i *installer) trees() (source, output string) {
	source = i.value("kernel-source-path", "/lib/modules/"+i.value("kernel-name", i.running)+"/build")
	return source, i.value("kernel-output-path", source)
}

func (i *installer) checkTrees() error {
	source, output := i.trees()
	if _, err := os.Stat(source); err != nil {
		return complain("The kernel source path '%s' does not exist.", source)
	}
	if header := source + "/include/linux/kernel.h"; !exists(header) {
		return complain("The kernel header file '%s' does not exist.  The most likely reason for this is that the kernel source path '%s' is incorrect.", header, source)
	}
	if !exists(output) {
		return complain("The kernel output path '%s' does not exist.", output)
	}
	old, header := output+"/include/linux/version.h", output+"/include/generated/uapi/linux/version.h"
	if !exists(old) && !exists(header) {
		return complain("Neither the '%s' nor the '%s' kernel header file exists. The most likely reason for this is that the kernel source files in '%s' have not been configured.", old, header, output)
	}
	i.step(fmt.Sprintf("Kernel source path: '%s'", source))
	i.step(fmt.Sprintf("Kernel output path: '%s'", output))
	return nil
}

// build runs make, and once more for each module that is missing.
func (i *installer) build(p pack) error {
	i.step("Cleaning kernel module build directory.")
	_ = i.make(p, "clean", "")
	made := i.make(p, "", "Building kernel modules")
	for _, module := range p.modules {
		file := filepath.Join(filepath.Dir(i.program), p.buildDir, module+".ko")
		if exists(file) {
			continue
		}
		_ = i.make(p, fmt.Sprintf("NV_KERNEL_MODULES=%q", module),
			fmt.Sprintf("Checking to see whether the %s kernel module was successfully built", module))
		if exists(file) {
			continue
		}
		i.error(fmt.Sprintf("The %s kernel module was not created.", module))
		for _, o := range optional {
			if o.module == module {
				i.error(fmt.Sprintf("The %s kernel module failed to build. This kernel module is required for the proper operation of %s. If you do not need to use %s, you can try to install this driver package again with the '--%s' option.", module, o.purpose, o.purpose, o.option))
			}
		}
		return errReported
	}
	return made
}

// make runs make in the package's module sources. A command without a title is
// not a step of its own, and may fail.
func (i *installer) make(p pack, arguments, title string) error {
	source, output := i.trees()
	command := fmt.Sprintf("cd %s; make -k -j%s  NV_EXCLUDE_KERNEL_MODULES=%q SYSSRC=%q SYSOUT=%q %s",
		p.buildDir, i.value("concurrency-level", fmt.Sprint(runtime.NumCPU())), strings.Join(p.excluded, " "), source, output, arguments)
	during := ""
	if title != "" {
		i.step(title)
		during = fmt.Sprintf(" while performing the step: %q", title)
	}
	if err := i.sh(command); err == nil {
		if title != "" {
			i.step("done.")
		}
		return nil
	}
	if title != "" {
		i.step("Error.")
	}
	i.error(fmt.Sprintf("An error occurred%s. See %s for details.", during, i.value("log-file-name", "/var/log/nvidia-installer.log")))
	i.step(fmt.Sprintf("The command `%s` failed with the following output:\n\n%s", command, i.output))
	return errReported
}

// copyModules installs the built modules.
func (i *installer) copyModules(p pack) error {
	dir := i.value("kernel-install-path", "/lib/modules/"+i.value("kernel-name", i.running)+"/kernel/drivers/video")
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return complain("Unable to create '%s' (%v)", dir, err)
	}
	for _, module := range p.modules {
		name := module + ".ko"
		if err := copyFile(filepath.Join(dir, name), filepath.Join(filepath.Dir(i.program), p.buildDir, name)); err != nil {
			return complain("Cannot install %s (%v)", name, err)
		}
	}
	return nil
}

func copyFile(to, from string) (err error) {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_WRONLY|os.O_CREATE|os.O_TRUNC, 0o644)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, out.Close()) }()
	_, err = io.Copy(out, in)
	return err
}

func exists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}
