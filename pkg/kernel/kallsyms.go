package kernel

import (
	"bufio"
	"bytes"
	"cmp"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"slices"
	"strconv"
	"strings"
)

const (
	// A kernel's symbol names end at KSYM_NAME_LEN, 512; a line adds an
	// address, a type and a module's name.
	kallsymsLine = 4 << 10
	// Distribution kernels export 10,000 symbols, and as many again from
	// their modules.
	exportsLimit = 1 << 20
)

// errNoExports is a kallsyms in which no export can be found.
var errNoExports = errors.New("no __ksymtab_ entry in it")

// notSymbols are section names that a kallsyms may list in the same form as
// an export's entry.
var notSymbols = map[string]bool{
	"strings": true, "gpl": true, "unused": true, "unused_gpl": true, "gpl_future": true,
}

// export is a symbol and the address of its entry in the export table.
type export struct {
	Symbol
	entry uint64
}

// table is where one of vmlinux's export tables lies in memory.
type table struct{ start, stop uint64 }

func (t table) known() bool             { return t.start != 0 && t.start <= t.stop }
func (t table) holds(entry uint64) bool { return t.known() && t.start <= entry && entry < t.stop }

// ParseKallsyms reads the exports out of a /proc/kallsyms: lines of
// "ADDRESS TYPE NAME [MODULE]" in which a kernel with KALLSYMS_ALL lists the
// export of X as __ksymtab_X.
//
// Which of vmlinux's exports are GPL-only is told by the bounds of its two
// tables, as long as addresses are not hidden (to a reader without CAP_SYSLOG
// they are all 0); Licenses says whether they were. It tells neither
// namespaces nor CRCs, nor the licence of a module's exports.
func ParseKallsyms(r io.Reader) (Exports, error) {
	var exports []export
	bounds := map[string]*uint64{}
	var plain, gpl table
	bounds["__start___ksymtab"], bounds["__stop___ksymtab"] = &plain.start, &plain.stop
	bounds["__start___ksymtab_gpl"], bounds["__stop___ksymtab_gpl"] = &gpl.start, &gpl.stop

	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, kallsymsLine), kallsymsLine)
	for n := 1; lines.Scan(); n++ {
		if !bytes.Contains(lines.Bytes(), []byte("__ksymtab")) {
			continue
		}
		name, e, err := parseKallsym(lines.Text())
		if err != nil {
			return Exports{}, fmt.Errorf("line %d: %w", n, err)
		}
		if bound := bounds[name]; bound != nil && e.Module == "vmlinux" {
			*bound = e.entry
		}
		if e.Name == "" {
			continue
		}
		if exports = append(exports, e); len(exports) > exportsLimit {
			return Exports{}, fmt.Errorf("more than %d exports", exportsLimit)
		}
	}
	if err := lines.Err(); err != nil {
		return Exports{}, err
	}
	return classify(exports, plain, gpl)
}

// parseKallsym reads one line. The export's Name is empty when the line is of
// some other symbol.
func parseKallsym(line string) (name string, e export, err error) {
	fields := strings.Fields(line)
	if len(fields) < 3 || len(fields) > 4 {
		return "", export{}, fmt.Errorf("%.80q is not ADDRESS TYPE NAME [MODULE]", line)
	}
	if e.entry, err = strconv.ParseUint(fields[0], 16, 64); err != nil {
		return "", export{}, fmt.Errorf("%.80q does not begin with an address", line)
	}
	e.Module = "vmlinux"
	if len(fields) == 4 {
		e.Module = strings.TrimSuffix(strings.TrimPrefix(fields[3], "["), "]")
	}
	exported, found := strings.CutPrefix(fields[2], "__ksymtab_")
	if found && !notSymbols[exported] {
		e.Name = exported
	}
	return fields[2], e, nil
}

// classify sorts the exports and gives vmlinux's their licences.
func classify(found []export, plain, gpl table) (Exports, error) {
	if len(found) == 0 {
		return Exports{}, errNoExports
	}
	slices.SortStableFunc(found, func(a, b export) int {
		return cmp.Or(cmp.Compare(a.Name, b.Name), compareModules(a.Module, b.Module))
	})
	// A kernel refuses a second export of a name, so the first is the one.
	found = slices.CompactFunc(found, func(a, b export) bool { return a.Name == b.Name })
	// With one table alone nothing is told apart.
	x := Exports{Licenses: plain.known() && gpl.known()}
	for _, e := range found {
		switch {
		case !x.Licenses, e.Module != "vmlinux":
		case gpl.holds(e.entry):
			e.License = LicenseGPL
		case plain.holds(e.entry):
			e.License = LicenseAny
		}
		x.Symbols = append(x.Symbols, e.Symbol)
	}
	x.Digest = digest(x.Symbols)
	return x, nil
}

// compareModules puts vmlinux before every module.
func compareModules(a, b string) int {
	if a == b {
		return 0
	}
	if a == "vmlinux" {
		return -1
	}
	if b == "vmlinux" {
		return 1
	}
	return cmp.Compare(a, b)
}

// without returns the exports but for those of the named modules.
func (x Exports) without(modules map[string]bool) Exports {
	if len(modules) == 0 {
		return x
	}
	x.Symbols = slices.DeleteFunc(slices.Clone(x.Symbols), func(s Symbol) bool {
		return modules[s.Module]
	})
	x.Digest = digest(x.Symbols)
	return x
}

// digest is sha256:HEX over the symbols' lines in a Module.symvers.
func digest(symbols []Symbol) string {
	h := sha256.New()
	for _, s := range symbols {
		io.WriteString(h, s.symversLine(true))
	}
	return "sha256:" + hex.EncodeToString(h.Sum(nil))
}
