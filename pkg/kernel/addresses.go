package kernel

import (
	"bytes"
	"fmt"
	"io/fs"
	"strings"
)

// firstAddress is where a capture has the lowest address of a kernel or a
// module: not 0, which is how a kernel hides one.
const firstAddress = 1

// withoutAddresses keeps the lines of a kallsyms that tell of exports, and
// moves their addresses so that the kernel's, and each module's, begin at
// firstAddress. They compare as before and do not say where a running kernel
// has its code, which would help to attack it; and the same kernel booted
// anew gives the same capture.
func (c *recorder) withoutAddresses(text []byte) ([]byte, error) {
	var lines []export
	var names []string
	c.bases = map[string]uint64{}
	for line := range bytes.Lines(text) {
		if !bytes.Contains(line, []byte(ksymtab)) {
			continue
		}
		name, e, err := parseKallsym(string(line))
		if err != nil {
			return nil, err
		}
		lines, names = append(lines, e), append(names, strings.Fields(string(line))[1]+" "+name)
		c.lower(e.Module, e.entry)
	}
	for module := range c.bases {
		tables := loadedTables(c.root)(module)
		for _, start := range []*uint64{tables.plain, tables.gpl, tables.flags} {
			if start != nil {
				c.lower(module, *start)
			}
		}
	}
	var out bytes.Buffer
	for i, e := range lines {
		fmt.Fprintf(&out, "%016x %s", c.moved(e.Module, e.entry), names[i])
		if e.Module != vmlinux {
			fmt.Fprintf(&out, "\t[%s]", e.Module)
		}
		out.WriteByte('\n')
	}
	return out.Bytes(), nil
}

// withoutSection moves the address of a loaded module's section as
// withoutAddresses, which comes first, moved its exports. That a module has the
// section tells something even to who may not read its address.
func (c *recorder) withoutSection(name string) ([]byte, error) {
	module, section, _ := strings.Cut(strings.TrimPrefix(name, "sys/module/"), "/sections/")
	address := sectionAddress(c.root, module, section)
	if address == nil {
		return nil, &fs.PathError{Op: "open", Path: name, Err: fs.ErrNotExist}
	}
	return fmt.Appendf(nil, "0x%016x\n", c.moved(module, *address)), nil
}

// withoutLoadAddresses hides where the modules of a /proc/modules are, as the
// kernel does from readers without CAP_SYSLOG.
func withoutLoadAddresses(text []byte) []byte {
	var out bytes.Buffer
	for line := range strings.Lines(string(text)) {
		if fields := strings.Fields(line); len(fields) > loadAddress {
			fields[loadAddress] = "0x0000000000000000"
			out.WriteString(strings.Join(fields, " ") + "\n")
		}
	}
	return out.Bytes()
}

// lower notes an address of a module's.
func (c *recorder) lower(module string, address uint64) {
	if base, ok := c.bases[module]; !ok || base == 0 || address != 0 && address < base {
		c.bases[module] = address
	}
}

func (c *recorder) moved(module string, address uint64) uint64 {
	base := c.bases[module]
	if address == 0 || base == 0 {
		return 0 // hidden, or nothing to compare it with
	}
	return address - base + firstAddress
}
