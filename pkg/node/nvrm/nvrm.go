package nvrm

import (
	"cmp"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Message is what was said of one GPU.
type Message struct {
	// Address is the GPU's on the PCI bus, as sysfs has it: "0000:65:00.0".
	Address string
	// Says is what the driver said, in one line and without its name.
	Says string
	// Xid is the number of an Xid; 0 where it is none.
	Xid int
	// Lost says that the GPU does not compute any more, although the driver has it
	// and its device file may well be opened.
	Lost bool
	// Start says that it was said as the GPU was started: a later start may do better.
	Start bool
	// Do is what helps, in the imperative; empty where NVIDIA's catalog of Xids has
	// to be asked.
	Do string

	rank int // of rules, the most telling first
	at   int // where in the log
}

// What helps.
const (
	doPower = "connect the card's own power cables, or look at what they hang on"
	doBus   = "start the host again, with the power off for a while where that alone does not help; if it happens again, look at the card's seat, power and heat, and for PCIe errors in the kernel's log"
	doReset = "end what uses the GPU and reset it (nvidia-smi --gpu-reset --id=%s), or start the host again"
	doBoot  = "start the host again"
	doGSP   = "start the host again, with the power off for a while, and a virtual machine by stopping and starting it: the GPU's processor still runs what an earlier driver gave it"
	doBlobs = "have the kernel find the firmware of this very driver: build again, which publishes it beside the modules, and load that"
	// DoBAR helps where there is no room for a GPU's memory among the bus's addresses.
	DoBAR = "switch on Above 4G Decoding in the host's firmware, or boot with pci=realloc; a virtual machine needs UEFI and a 64-bit MMIO window for all memory of its cards (QEMU: machine q35, -fw_cfg name=opt/ovmf/X-PciMmio64Mb,string=MEGABYTES)"
	// Unknown helps where the driver does not say why.
	Unknown = doInit
	doInit  = "start the host again, with the power off for a while; where that does not help, try another driver version, or the other form with --module-type, and then the card in another slot or host"
)

// address is a GPU's on the PCI bus, with or without its function.
const address = `([0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.[0-7])?)`

// rules are the messages, the most telling first: of several about a GPU the first
// is why it does not come up. Their first group is the address.
var rules = []struct {
	pattern *regexp.Regexp
	start   bool
	do      string
}{
	{regexp.MustCompile(`NVRM: GPU ` + address + `: GPU does not have the necessary power cables connected`), true, doPower},
	{regexp.MustCompile(`NVRM: GPU (?:at )?(?:PCI:)?` + address + `:? (?:GPU )?has fallen off the bus`), false, doBus},
	{regexp.MustCompile(`NVRM: The NVIDIA GPU ` + address + `\s+NVRM: \(PCI ID: [0-9a-f:]+\) installed in this system has\s+NVRM: fallen off the bus and is not responding to commands`), false, doBus},
	{regexp.MustCompile(`nvidia ` + address + `: Unable to change power state from D3cold to D0, device inaccessible`), true, doBus},
	{regexp.MustCompile(`NVRM: This PCI I/O region assigned to your NVIDIA device is invalid:\s+NVRM: BAR\d is \d+M @ 0x[0-9a-f]+ \(PCI:` + address + `\)`), true, DoBAR},
	{regexp.MustCompile(`nvidia ` + address + `: Direct firmware load for \S+ failed with error -\d+`), true, doBlobs},
	{regexp.MustCompile(`NVRM: GPU ` + address + `: RmInitAdapter failed! \([^)\n]*\)`), true, doInit},
	{regexp.MustCompile(`NVRM: GPU ` + address + `: rm_init_adapter failed, device minor number \d+`), true, doInit},
}

// xid is the driver's line of one: "NVRM: Xid (PCI:0000:65:00): 79, GPU has fallen off the bus."
// Of a GPU in parts it may name the part, "(PCI:0000:65:00 GPU-I:01 GPU-CI:00)"
// (kernel_rc.c, krcReportXid).
var xid = regexp.MustCompile(`NVRM: Xid \(PCI:` + address + `(?: GPU-I:\d+)?(?: GPU-CI:\d+)?\): (\d+)(?:, *([^\n]*))?`)

// recovery is what an Xid 154 says is to be done now (gpu.c, _gpuRecoveryActionName).
var recovery = regexp.MustCompile(`GPU recovery action changed from 0x[0-9a-f]+ \([^)]*\) to 0x[0-9a-f]+ \(([^)]*)\)`)

// The numbers of Xids that are told apart.
const (
	xidOffTheBus = 79
	xidRecovery  = 154
)

// wpr2 is said of a GPU by its number in the driver alone (kernel_gsp.c), before it is
// said of it by its address that it failed.
const wpr2 = "unexpected WPR2 already up, cannot proceed with booting GSP"

// Read finds the messages about GPUs in a log, a message a line without levels and
// times, in the order of their addresses, and of one GPU the most telling first. An
// Xid that the driver took back, as after a reset, is not among them.
func Read(log []string) []Message {
	text := strings.Join(log, "\n")
	var found []Message
	for rank, r := range rules {
		for _, at := range r.pattern.FindAllStringSubmatchIndex(text, -1) {
			m := Message{Address: sysfsAddress(text[at[2]:at[3]]), Says: inOneLine(text[at[0]:at[1]]), Lost: true, Start: r.start, Do: r.do, rank: rank, at: at[0]}
			if r.do == doInit && gspRuns(text[:at[0]]) {
				m.Says, m.Do = wpr2+": "+m.Says, doGSP
			}
			found = append(found, m)
		}
	}
	xids, recovered := readXids(text)
	found = slices.DeleteFunc(append(found, xids...), func(m Message) bool { return m.at < recovered[m.Address] })
	slices.SortStableFunc(found, func(a, b Message) int {
		return cmp.Or(strings.Compare(a.Address, b.Address), cmp.Compare(a.rank, b.rank))
	})
	return slices.CompactFunc(found, func(a, b Message) bool { return a.Address == b.Address && a.Says == b.Says })
}

// Xids finds all Xids in a log, in its order: those that the driver took back, too, and each as
// often as it was said.
func Xids(log []string) []Message {
	found, _ := readXids(strings.Join(log, "\n"))
	return found
}

// gspRuns says whether the processor of the GPU whose start failed next had not been
// stopped: the message about it is after that about the GPU that failed before.
func gspRuns(before string) bool {
	return strings.LastIndex(before, wpr2) > strings.LastIndex(before, ": RmInitAdapter failed!")
}

// readXids are the log's Xids, and where in it the driver says of a GPU that nothing
// has to be done about it any more. An Xid's rank is that of the bus where it tells of
// that, else the last.
func readXids(text string) (found []Message, recovered map[string]int) {
	recovered = map[string]int{}
	for _, at := range xid.FindAllStringSubmatchIndex(text, -1) {
		number, err := strconv.Atoi(text[at[4]:at[5]])
		if err != nil {
			continue
		}
		m := Message{Address: sysfsAddress(text[at[2]:at[3]]), Says: inOneLine(text[at[0]:at[1]]), Xid: number, rank: len(rules) + 1, at: at[0]}
		action := recovery.FindStringSubmatch(m.Says)
		switch {
		case number == xidOffTheBus:
			m.Lost, m.Do, m.rank = true, doBus, 1
		case number != xidRecovery || action == nil:
		case action[1] == "None":
			recovered[m.Address] = at[1]
		case action[1] == "GPU Reset Required":
			m.Lost, m.Do, m.rank = true, fmt.Sprintf(doReset, m.Address), len(rules)
		case action[1] == "Node Reboot Required":
			m.Lost, m.Do, m.rank = true, doBoot, len(rules)
		case action[1] == "Drain and Reset":
			m.Do = fmt.Sprintf(doReset, m.Address)
		}
		found = append(found, m)
	}
	return found, recovered
}

// Lost is why a GPU does not compute, the most telling of the messages about it. Of one
// that has been started since, those of a start that failed do not count.
func Lost(messages []Message, address string, started bool) (why Message, lost bool) {
	i := slices.IndexFunc(messages, func(m Message) bool { return m.Address == address && m.Lost && !(started && m.Start) })
	if i < 0 {
		return Message{}, false
	}
	return messages[i], true
}

// begun is what a driver logs as it is loaded, before it looks at any GPU
// (nvlink_linux.c), and loading after that (nv.c): a driver without NVLink has only
// the latter.
const (
	begun   = "nvidia-nvlink: Nvlink Core is being initialized"
	loading = "NVRM: loading NVIDIA UNIX"
)

// SinceLoad is what a log has of the driver that was loaded last: from where that
// begins; all of it where that is not there, as when the log's beginning is gone.
func SinceLoad(log []string) []string {
	for _, text := range []string{begun, loading} {
		for i, line := range slices.Backward(log) {
			if strings.Contains(line, text) {
				return log[i:]
			}
		}
	}
	return log
}

// sysfsAddress is an address as sysfs has it; without a function it is of the first.
func sysfsAddress(text string) string {
	text = strings.ToLower(text)
	if !strings.Contains(text, ".") {
		text += ".0"
	}
	for strings.HasPrefix(text, "0") && strings.Index(text, ":") > 4 {
		text = text[1:]
	}
	return text
}

// inOneLine is a message without the driver's name.
func inOneLine(text string) string {
	words := strings.Fields(strings.ReplaceAll(text, "NVRM: ", " "))
	return strings.TrimSuffix(strings.Join(words, " "), ".")
}
