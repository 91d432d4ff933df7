package kernel

import (
	"bufio"
	"fmt"
	"io"
)

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
	b := bufio.NewWriter(w)
	namespaces := r.AtLeast(5, 4)
	for _, s := range x.Symbols {
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
