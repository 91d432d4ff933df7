package kernel

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"path"
	"strconv"
	"strings"
)

// symversLineLimit is far above two names, a path and a namespace.
const symversLineLimit = 16 << 10

// ParseSymvers reads a Module.symvers, in the order of its lines: the exports
// of vmlinux and of every module of the tree that wrote it. Its columns, with
// tabs between, are
//
//	CRC SYMBOL MODULE CLASS             before 5.4
//	CRC SYMBOL NAMESPACE MODULE CLASS   in 5.4 and 5.5
//	CRC SYMBOL MODULE CLASS NAMESPACE   since
//
// where MODULE is "vmlinux" or a path: "drivers/gpu/drm/drm".
func ParseSymvers(r io.Reader) ([]Symbol, error) {
	var symbols []Symbol
	lines := bufio.NewScanner(r)
	lines.Buffer(make([]byte, 4<<10), symversLineLimit)
	for n := 1; lines.Scan(); n++ {
		if len(bytes.TrimSpace(lines.Bytes())) == 0 {
			continue
		}
		s, err := parseSymversLine(lines.Text())
		if err != nil {
			return nil, fmt.Errorf("line %d: %w", n, err)
		}
		if symbols = append(symbols, s); len(symbols) > exportsLimit {
			return nil, fmt.Errorf("more than %d exports", exportsLimit)
		}
	}
	if err := lines.Err(); err != nil {
		return nil, err
	}
	if len(symbols) == 0 {
		return nil, errors.New("no symbol in it")
	}
	return symbols, nil
}

func parseSymversLine(line string) (Symbol, error) {
	bad := func() (Symbol, error) {
		return Symbol{}, fmt.Errorf("%.120q is not CRC, SYMBOL, MODULE, EXPORT_SYMBOL, NAMESPACE with tabs between", line)
	}
	columns := strings.Split(line, "\t")
	var module, class, namespace string
	switch {
	case len(columns) == 4:
		module, class = columns[2], columns[3]
	case len(columns) == 5 && strings.HasPrefix(columns[3], "EXPORT_"):
		module, class, namespace = columns[2], columns[3], columns[4]
	case len(columns) == 5:
		namespace, module, class = columns[2], columns[3], columns[4]
	default:
		return bad()
	}
	crc, err := strconv.ParseUint(strings.TrimPrefix(columns[0], "0x"), 16, 32)
	license := exportClass(class)
	if err != nil || module == "" || license == LicenseUnknown {
		return bad()
	}
	s := Symbol{
		Name: columns[1], Module: ModuleName(module), License: license,
		Namespace: namespace, NamespaceKnown: true, CRC: uint32(crc), CRCKnown: true,
	}
	if !s.listable() {
		return bad()
	}
	return s, nil
}

// listable says whether a line of a Module.symvers can hold the symbol's names:
// they are not empty, and nothing in them ends a column or a line.
func (s Symbol) listable() bool {
	separates := func(r rune) bool { return r <= ' ' || r == 0x7f }
	return s.Name != "" && s.Module != "" && !strings.ContainsFunc(s.Name+s.Module+s.Namespace, separates)
}

// exportClass is the licence that a class of export asks for. The unused and
// future ones went with 5.12, and future ones never kept a module out.
func exportClass(class string) License {
	switch class {
	case "EXPORT_SYMBOL", "EXPORT_UNUSED_SYMBOL", "EXPORT_SYMBOL_GPL_FUTURE":
		return LicenseAny
	case "EXPORT_SYMBOL_GPL", "EXPORT_UNUSED_SYMBOL_GPL":
		return LicenseGPL
	}
	return LicenseUnknown
}

// ModuleName is what a kernel calls the module of a file: drm_kms_helper of
// drivers/gpu/drm/drm-kms-helper.ko.xz.
func ModuleName(file string) string {
	name, _, _ := strings.Cut(path.Base(file), ".ko")
	return strings.ReplaceAll(name, "-", "_")
}

// WriteSymvers writes the exports as the Module.symvers of a kernel tree of
// the given release, the file by which modpost resolves a module's imports and
// in which the driver's conftest looks up what the kernel has. A line is, with
// tabs between:
//
//	0x00000000  printk  vmlinux  EXPORT_SYMBOL  NAMESPACE
//
// The last column is there from 5.4 on. (Until "modpost: move the namespace
// field in Module.symvers last", of 5.6 and 5.4's stable line, it was the third;
// the early 5.4 releases that still want it there are older than any line tried.)
func (x Exports) WriteSymvers(w io.Writer, r Release) error {
	return writeSymvers(w, x.Symbols, r.AtLeast(5, 4))
}

func writeSymvers(w io.Writer, symbols []Symbol, namespaces bool) error {
	b := bufio.NewWriter(w)
	for _, s := range symbols {
		if _, err := b.WriteString(s.symversLine(namespaces)); err != nil {
			return err
		}
	}
	return b.Flush()
}

// symversLine is the symbol as Module.symvers has it. A licence that is not
// known is written as EXPORT_SYMBOL: modpost would refuse a proprietary module
// on the strength of a guess, while whether the kernel refuses it is the
// check stage's question.
func (s Symbol) symversLine(namespaces bool) string {
	license := "EXPORT_SYMBOL"
	if s.License == LicenseGPL {
		license = "EXPORT_SYMBOL_GPL"
	}
	line := fmt.Sprintf("0x%08x\t%s\t%s\t%s", s.CRC, s.Name, s.Module, license)
	if namespaces {
		line += "\t" + s.Namespace
	}
	return line + "\n"
}
