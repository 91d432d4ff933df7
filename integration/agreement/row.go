package main

import (
	"strings"

	"github.com/k8sp/cuda/integration/guest/plan"
	"github.com/k8sp/cuda/pkg/modules"
)

// Row is a variant before the gate and before a booted kernel.
type Row struct {
	// Variant is what was done to the module.
	Variant string
	// Policy says that no kernel looks at what was done: such a row is listed
	// apart, and does not count.
	Policy bool
	Gate   GateVerdict
	Kernel KernelVerdict
}

// Agree says whether both accept the module, or both refuse it. A gate that
// could not check something here, where everything is to be seen, agrees with
// nothing, unless it found enough to refuse: of a file that is no ELF it can
// check nothing else.
func (r Row) Agree() bool {
	unsure := len(r.Gate.Unsure) > 0 && !r.Gate.Refuses()
	return !unsure && !r.Kernel.Crashed && r.Gate.Refuses() != r.Kernel.Accepted
}

// GateVerdict is the gate's, of its kernel checks of one module.
type GateVerdict struct {
	// Failed and Unsure are the names of the checks that the module failed and
	// of those that could not be made; Policy those of our own that it failed.
	Failed, Unsure, Policy []string
}

// Refuses says whether the gate expects the kernel to refuse the module.
func (v GateVerdict) Refuses() bool { return len(v.Failed) > 0 }

func (v GateVerdict) String() string {
	switch {
	case v.Refuses():
		return "refuses: " + strings.Join(v.Failed, ", ")
	case len(v.Unsure) > 0:
		return "cannot check: " + strings.Join(v.Unsure, ", ")
	}
	return "accepts"
}

// verdictOf sums up the gate's findings about one module.
func verdictOf(checks []modules.Check, module string) GateVerdict {
	var v GateVerdict
	for _, c := range checks {
		kernel := c.Kind == modules.KernelCheck
		switch {
		case c.Module != module:
		case c.Verdict == modules.Failed && kernel:
			v.Failed = append(v.Failed, c.Name)
		case c.Verdict == modules.Failed:
			v.Policy = append(v.Policy, c.Name)
		case c.Verdict == modules.NotCheckable && kernel:
			v.Unsure = append(v.Unsure, c.Name)
		}
	}
	return v
}

// KernelVerdict is what a booted kernel did with a module.
type KernelVerdict struct {
	// Accepted says that its loader took the module: it called the module's
	// own init, or had none to call. What that returned does not matter:
	// nvidia's returns ENODEV, because there is no GPU.
	Accepted bool
	// Errno is the error's name, "ENOEXEC", empty where there was none, and
	// Words what was logged.
	Errno string
	Words []string
	// Crashed says that the kernel did not survive it.
	Crashed bool
}

// noise are what kernels say to sound modules, too, and once only: the taints
// that they leave; and what initcall_debug has them say.
var noise = []string{
	"loading out-of-tree module taints kernel", "taints kernel.", "Disabling lock debugging due to kernel taint",
	"tainting kernel", "loading module not compiled with retpoline", "inheriting taint", "Spectre V2",
	"calling  ", "initcall ",
}

// answered reads the kernel's answer to a module.
func answered(l plan.Loaded) KernelVerdict {
	v := KernelVerdict{Accepted: l.Accepted(), Errno: l.Error}
	for _, line := range l.Log {
		if !isNoise(line) {
			v.Words = append(v.Words, line)
		}
	}
	return v
}

func isNoise(line string) bool {
	for _, words := range noise {
		if strings.Contains(line, words) {
			return true
		}
	}
	return false
}

// most bounds how much of what was logged is printed, in bytes.
const most = 150

func (v KernelVerdict) String() string {
	words := strings.Join(strings.Fields(strings.Join(v.Words, " / ")), " ")
	if len(words) > most {
		words = strings.ToValidUTF8(words[:most], "") + " …"
	}
	switch {
	case v.Crashed:
		return "crashed: " + words
	case v.Accepted && v.Errno == "":
		return "accepts"
	case v.Accepted: // and the words are the module's
		return "accepts (its init: " + v.Errno + ")"
	case words == "":
		return "refuses: " + v.Errno
	}
	return "refuses: " + v.Errno + ": " + words
}
