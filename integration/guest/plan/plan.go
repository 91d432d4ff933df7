// Package plan is what the lab and the program in its virtual machine say to
// each other: a Plan goes in with the initramfs, and Results come out, one as
// soon as its step is done, so that a crash loses none but its own.
package plan

import (
	"bufio"
	"compress/gzip"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// File is the plan's path in the initramfs.
const File = "/plan.json"

// Plan is a list of steps. The program goes on after a step that failed.
type Plan []Step

// Step is one thing to do. What is set of it is done, in the order of the
// fields.
type Step struct {
	// Remove are loaded modules to remove first, by name.
	Remove []string `json:",omitempty"`
	// Load are modules to load, in this order, until one is refused.
	Load []Module `json:",omitempty"`
	// Unload says to remove those that were loaded again, the last one first,
	// so that the next step finds the kernel as this one did.
	Unload bool `json:",omitempty"`
	// Write are files to be written, such as those of /proc/sys.
	Write []Text `json:",omitempty"`
	// Open are files that are opened and held until a step says to Close them.
	Open  []string `json:",omitempty"`
	Close bool     `json:",omitempty"`
	// Start is a program that is started and goes on beside this and later steps, and
	// Until is what it must print, after this step's files were written, before the step
	// goes on. Stop has it end by SIGTERM and bring out what came of it, as if it had
	// been run.
	Start []string `json:",omitempty"`
	Until string   `json:",omitempty"`
	Stop  bool     `json:",omitempty"`
	// Run is a program of the initramfs and its arguments, and Confined what it, or the
	// one that is started, is kept from. Beside are others that run at the same time.
	Run      []string   `json:",omitempty"`
	Confined Confined   `json:",omitzero"`
	Beside   [][]string `json:",omitempty"`
	// Read are files, of the initramfs, /proc or /sys, to be brought out, and
	// Stat those of which it is told what they are.
	Read []string `json:",omitempty"`
	Stat []string `json:",omitempty"`
}

// Text is a file and what to write to it. In either, Boot stands for what the machine's
// kernel calls its boot.
type Text struct{ Name, Content string }

// Boot is replaced in a [Text] by the kernel's boot_id.
const Boot = "{boot}"

// Confined is what a program lacks, as one in a container does.
type Confined struct {
	// Drop are capabilities by their numbers. Keep, where there are any, are those that
	// are left, as in a container with --cap-drop ALL and no-new-privileges.
	Drop []uintptr `json:",omitempty"`
	Keep []uintptr `json:",omitempty"`
	// User puts it in a user namespace of its own, in which it is root.
	User bool `json:",omitempty"`
	// ReadOnly are folders that it cannot write to, and Hidden those that are
	// empty for it.
	ReadOnly []string `json:",omitempty"`
	Hidden   []string `json:",omitempty"`
	// Volumes are folders of the host's that are mounted for it at their own paths.
	Volumes []string `json:",omitempty"`
	// Devices says that its device cgroup is Docker's: any device may be
	// made, and few may be opened. It then has an empty /dev of its own, and the
	// host's at HostDev.
	Devices bool `json:",omitempty"`
}

// HostDev is the host's /dev for a program with a device cgroup.
const HostDev = "/hostdev"

// Module is a module to load.
type Module struct {
	// File is the path of the .ko, not compressed; Parameters is what insmod
	// has after it.
	File, Parameters string
}

// Result is what came of a step.
type Result struct {
	// Load has an entry for each module that the kernel was asked to take.
	Load []Loaded `json:",omitempty"`
	// Ran is set where the step has a program, Beside where it has others.
	Ran    *Ran  `json:",omitempty"`
	Beside []Ran `json:",omitempty"`
	// Read are the files' contents by path.
	Read map[string][]byte `json:",omitempty"`
	// Stat says what files are, "crw-rw-rw- 195:255", by path; nothing of one
	// that is not there.
	Stat map[string]string `json:",omitempty"`
	// Errors are what else went wrong: a program that cannot be started, a
	// file that cannot be read, a module that stays.
	Errors []string `json:",omitempty"`
	// Crashed says that the kernel did not survive the step; there is
	// nothing else then, but the end of its log in Errors.
	Crashed bool `json:",omitempty"`
}

// Loaded is the kernel's answer to finit_module(2).
type Loaded struct {
	File string
	// Errno is its number, and Error its name, "ENOEXEC"; 0 and "" where the
	// module was loaded.
	Errno int    `json:",omitempty"`
	Error string `json:",omitempty"`
	// Log are the lines that the kernel logged meanwhile.
	Log []string `json:",omitempty"`
}

// Accepted says whether the kernel took the module, whatever the module's own
// code then made of it: the machines run with initcall_debug, by which a kernel
// logs "calling  nvidia_init+0x0/0x1 [nvidia] @ 1" when it is through with its
// checks.
func (l Loaded) Accepted() bool {
	return l.Errno == 0 || slices.ContainsFunc(l.Log, func(line string) bool {
		return strings.HasPrefix(line, "calling ")
	})
}

// Ran is how a program ended.
type Ran struct {
	Exit           int
	Stdout, Stderr []byte `json:",omitempty"`
}

// Writer writes results, compressed, since a serial line is slow.
type Writer struct{ compressed *gzip.Writer }

// NewWriter begins the stream, which tells that the program has started.
func NewWriter(w io.Writer) (*Writer, error) {
	compressed, err := gzip.NewWriterLevel(w, gzip.BestSpeed)
	if err != nil {
		return nil, err
	}
	return &Writer{compressed}, compressed.Flush()
}

// Write writes a result so that it can be read even if nothing follows.
func (w *Writer) Write(r Result) error {
	return errors.Join(json.NewEncoder(w.compressed).Encode(r), w.compressed.Flush())
}

// ErrNotStarted is a stream that nobody began.
var ErrNotStarted = errors.New("the program in the virtual machine did not start")

// ReadAll reads the results up to the stream's end, wherever that is.
func ReadAll(r io.Reader) ([]Result, error) {
	stream, err := gzip.NewReader(bufio.NewReader(r))
	if err != nil {
		return nil, fmt.Errorf("%w: %w", ErrNotStarted, err)
	}
	var results []Result
	for decoder := json.NewDecoder(stream); ; {
		var result Result
		err := decoder.Decode(&result)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return results, nil // the stream has no end: a crash and power off look alike
		}
		if err != nil {
			return results, fmt.Errorf("results of the virtual machine: %w", err)
		}
		results = append(results, result)
	}
}
