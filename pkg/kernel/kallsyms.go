package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
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
	vmlinux      = "vmlinux"
)

// errNoExports is a kallsyms in which no export can be found.
var errNoExports = errors.New("no __ksymtab_ entry in it")

// ksymtab begins the name of everything that has to do with exports.
const ksymtab = "__ksymtab"

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

// kallsyms is what a /proc/kallsyms says of exports.
type kallsyms struct {
	exports    []export
	plain, gpl table // vmlinux's
}

// parseKallsyms reads the exports out of a /proc/kallsyms: lines of
// "ADDRESS TYPE NAME [MODULE]" in which a kernel with KALLSYMS_ALL lists the
// export of X as __ksymtab_X. Addresses are 0 to a reader without CAP_SYSLOG.
func parseKallsyms(r io.Reader) (kallsyms, error) {
	var k kallsyms
	bounds := map[string]*uint64{
		"__start___ksymtab": &k.plain.start, "__stop___ksymtab": &k.plain.stop,
		"__start___ksymtab_gpl": &k.gpl.start, "__stop___ksymtab_gpl": &k.gpl.stop,
	}
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, kallsymsLine), kallsymsLine)
	for n := 1; lines.Scan(); n++ {
		if !bytes.Contains(lines.Bytes(), []byte(ksymtab)) {
			continue
		}
		name, e, err := parseKallsym(lines.Text())
		if err != nil {
			return kallsyms{}, fmt.Errorf("line %d: %w", n, err)
		}
		if bound := bounds[name]; bound != nil && e.Module == vmlinux {
			*bound = e.entry
		}
		if e.Name == "" {
			continue
		}
		if k.exports = append(k.exports, e); len(k.exports) > exportsLimit {
			return kallsyms{}, fmt.Errorf("more than %d exports", exportsLimit)
		}
	}
	if err := lines.Err(); err != nil {
		return kallsyms{}, err
	}
	if len(k.exports) == 0 {
		return kallsyms{}, errNoExports
	}
	return k, nil
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
	e.Module = vmlinux
	if len(fields) == 4 {
		e.Module = strings.TrimSuffix(strings.TrimPrefix(fields[3], "["), "]")
	}
	exported, found := strings.CutPrefix(fields[2], ksymtab+"_")
	if !found || exported == "" || notSymbols[exported] {
		return fields[2], e, nil
	}
	if e.Name = exported; !e.listable() {
		return "", export{}, fmt.Errorf("%.80q has no name of a symbol", line)
	}
	return fields[2], e, nil
}

// kernelSymbols are vmlinux's exports. The bounds of its two tables tell which
// are GPL-only; with one table alone, or hidden addresses, nothing is told
// apart. Namespaces and CRCs are not in a kallsyms.
func (k kallsyms) kernelSymbols() []Symbol {
	told := k.plain.known() && k.gpl.known()
	var symbols []Symbol
	for _, e := range k.exports {
		if e.Module != vmlinux {
			continue
		}
		switch {
		case told && k.gpl.holds(e.entry):
			e.License = LicenseGPL
		case told && k.plain.holds(e.entry):
			e.License = LicenseAny
		}
		symbols = append(symbols, e.Symbol)
	}
	return symbols
}

// moduleSymbols are the exports of the modules that were loaded, but for the
// foreign ones. Where a module's tables lie is asked of tables.
func (k kallsyms) moduleSymbols(foreign map[string]bool, tables func(module string) moduleTables) []Symbol {
	known := map[string]moduleTables{}
	var symbols []Symbol
	for _, e := range k.exports {
		if e.Module == vmlinux || foreign[e.Module] {
			continue
		}
		if _, ok := known[e.Module]; !ok {
			known[e.Module] = tables(e.Module)
		}
		e.License = known[e.Module].license(e.entry)
		symbols = append(symbols, e.Symbol)
	}
	return symbols
}
