package kernel

import (
	"bufio"
	"fmt"
	"io"
	"strconv"
	"strings"
)

// notesFile has the ELF notes of the kernel that runs, its build ID among them.
const notesFile = "sys/kernel/notes"

// unknownFact is what stands in a list of exports for what its source could not
// tell.
const unknownFact = "?"

var licenseWords = map[License]string{LicenseUnknown: unknownFact, LicenseAny: "any", LicenseGPL: "gpl"}

// WriteFacts writes what is known of the exports, a line each, in the order of
// their names, with tabs between:
//
//	NAME  MODULE  any|gpl|?  NAMESPACE|?  CRC|?
//
// Unlike a Module.symvers ([Exports.WriteSymvers]) it tells what is not known from
// what is known to be nothing, so that two targets can be compared by it.
func (x Exports) WriteFacts(w io.Writer) error {
	b := bufio.NewWriter(w)
	for _, s := range x.Symbols {
		namespace, crc := unknownFact, unknownFact
		if s.NamespaceKnown {
			namespace = s.Namespace
		}
		if s.CRCKnown {
			crc = fmt.Sprintf("0x%08x", s.CRC)
		}
		if _, err := fmt.Fprintf(b, "%s\t%s\t%s\t%s\t%s\n", s.Name, s.Module, licenseWords[s.License], namespace, crc); err != nil {
			return err
		}
	}
	return b.Flush()
}

// ParseFacts reads what [Exports.WriteFacts] wrote.
func ParseFacts(r io.Reader) ([]Symbol, error) {
	var symbols []Symbol
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4<<10), symversLineLimit)
	for n := 1; lines.Scan(); n++ {
		s, ok := parseFacts(lines.Text())
		if !ok {
			return nil, fmt.Errorf("line %d: %.120q is not NAME, MODULE, licence, NAMESPACE, CRC with tabs between", n, lines.Text())
		}
		if symbols = append(symbols, s); len(symbols) > exportsLimit {
			return nil, fmt.Errorf("more than %d exports", exportsLimit)
		}
	}
	return symbols, lines.Err()
}

func parseFacts(line string) (s Symbol, ok bool) {
	columns := strings.Split(line, "\t")
	if len(columns) != 5 {
		return Symbol{}, false
	}
	s.Name, s.Module = columns[0], columns[1]
	for license, word := range licenseWords {
		if columns[2] == word {
			s.License, ok = license, true
		}
	}
	if columns[3] != unknownFact {
		s.Namespace, s.NamespaceKnown = columns[3], true
	}
	if columns[4] != unknownFact {
		crc, err := strconv.ParseUint(strings.TrimPrefix(columns[4], "0x"), 16, 32)
		s.CRC, s.CRCKnown = uint32(crc), true
		ok = ok && err == nil
	}
	return s, ok && s.listable()
}

// Contradictions says in what two lists of a kernel's exports contradict each
// other, a clause each: the lists are of two kernels then. Of a symbol that is in
// both only what both know counts, wherever it came from. Of one that is in one of
// them the other says that there is none where it lists all of the same exporter:
// every list has all of the kernel's own, and a complete one all of each module
// that it has. Which modules a host has installed makes no other kernel.
func (x Exports) Contradictions(y Exports) []string {
	var list []string
	mine, others := x.wholeExporters(), y.wholeExporters()
	a, b := x.Symbols, y.Symbols
	for len(a) > 0 || len(b) > 0 {
		switch {
		case len(b) == 0 || len(a) > 0 && a[0].Name < b[0].Name:
			if others[a[0].Module] {
				list = append(list, a[0].Name+" was exported, and is not")
			}
			a = a[1:]
		case len(a) == 0 || b[0].Name < a[0].Name:
			if mine[b[0].Module] {
				list = append(list, b[0].Name+" was not exported, and is")
			}
			b = b[1:]
		default:
			if clause := a[0].contradicts(b[0]); clause != "" {
				list = append(list, a[0].Name+" "+clause)
			}
			a, b = a[1:], b[1:]
		}
	}
	return list
}

// wholeExporters are those of which a list has all symbols.
func (x Exports) wholeExporters() map[string]bool {
	whole := map[string]bool{vmlinux: true}
	if x.Complete {
		for _, s := range x.Symbols {
			whole[s.Module] = true
		}
	}
	return whole
}

// contradicts says how what is known of a symbol differs from what else is
// known of it; "" where it does not.
func (s Symbol) contradicts(other Symbol) string {
	switch {
	case s.Module != other.Module:
		return fmt.Sprintf("was exported by %s, and is by %s", s.Module, other.Module)
	case s.License != LicenseUnknown && other.License != LicenseUnknown && s.License != other.License:
		who := map[License]string{LicenseAny: "every module", LicenseGPL: "GPL-compatible modules only"}
		return fmt.Sprintf("was for %s, and is for %s", who[s.License], who[other.License])
	case s.CRCKnown && other.CRCKnown && s.CRC != other.CRC:
		return fmt.Sprintf("had the checksum 0x%08x, and has 0x%08x", s.CRC, other.CRC)
	case s.NamespaceKnown && other.NamespaceKnown && s.Namespace != other.Namespace:
		return fmt.Sprintf("was in the namespace %q, and is in %q", s.Namespace, other.Namespace)
	}
	return ""
}
