package live

import (
	"cmp"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
)

// Process is one that has a device of the driver open.
type Process struct {
	PID int `json:"pid"`
	// Name is what the kernel calls it, of up to 15 bytes.
	Name string `json:"name"`
	// Devices are the paths as it opened them, sorted.
	Devices []string `json:"devices"`
}

func (p Process) String() string {
	return fmt.Sprintf("%s (process %d, %s)", p.Name, p.PID, strings.Join(p.Devices, " "))
}

// Users are the processes that have a device of the driver open, by their
// numbers. Complete says that every process of the host could be looked at: in
// a container of its own only its own are to be seen.
func Users(host, own *kernel.Root) (list []Process, complete bool) {
	root := hostProc(host, own)
	complete = root != nil
	if root == nil {
		root = own
	}
	dir, err := root.Path("proc")
	if err != nil {
		return nil, false
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, false
	}
	for _, e := range entries {
		pid, err := strconv.Atoi(e.Name())
		if err != nil {
			continue
		}
		devices, seen := openDevices(filepath.Join(dir, e.Name(), "fd"))
		complete = complete && seen
		if len(devices) > 0 {
			list = append(list, Process{PID: pid, Name: cmp.Or(root.Text("proc/"+e.Name()+"/comm"), "a process"), Devices: devices})
		}
	}
	slices.SortFunc(list, func(a, b Process) int { return cmp.Compare(a.PID, b.PID) })
	return list, complete
}

// openDevices are the devices of NVIDIA's among the open files of a process; a
// process that is gone has none.
func openDevices(dir string) (devices []string, seen bool) {
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, os.IsNotExist(err)
	}
	for _, e := range entries {
		target, err := os.Readlink(filepath.Join(dir, e.Name()))
		if err == nil && strings.HasPrefix(target, "/dev/nvidia") {
			devices = append(devices, strings.TrimSuffix(target, " (deleted)"))
		}
	}
	slices.Sort(devices)
	return slices.Compact(devices), true
}

// Held says who holds modules of the driver, other than each other, as a
// clause; "" where nobody does. The kernel counts and does not say who, so the
// processes are those that could be found.
func Held(modules []Module, users []Process, complete bool) string {
	ours := map[string]bool{}
	for _, m := range modules {
		ours[m.Name] = true
	}
	var who []string
	uses := 0
	for _, m := range modules {
		uses += max(0, m.Uses())
		for _, holder := range m.Holders {
			if !ours[holder] {
				who = append(who, "the module "+holder)
			}
		}
	}
	slices.Sort(who)
	who = slices.Compact(who)
	if uses > 0 {
		for _, p := range users {
			who = append(who, p.String())
		}
		switch {
		case len(users) == 0 && complete:
			who = append(who, fmt.Sprintf("%d uses from inside the kernel", uses))
		case !complete:
			who = append(who, fmt.Sprintf("%d open files or uses in all, of processes that are not all to be seen from this container (--pid host and --cap-add SYS_PTRACE show them)", uses))
		}
	}
	return strings.Join(who, ", ")
}
