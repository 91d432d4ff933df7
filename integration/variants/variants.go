package variants

import (
	"cmp"
	"fmt"
	"slices"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/modules/signature"
)

// Kernel is what the making of variants needs to know of the kernel that they
// are for.
type Kernel struct {
	// Target is read for names that its kernel has, and their versions.
	Target kernel.Target
	// Held signs with a key that the kernel holds and HeldOther with the same
	// key over another digest; nil where that key is not to be had. Stranger
	// signs with a key that no kernel holds.
	Held, HeldOther, Stranger *signature.Signer
	// Sign says that Held is to sign every module that is not about
	// signatures.
	Sign bool
}

// The modules that variants are made from: NVIDIA's, and the stub that
// [NewStub] makes of nvidia's.
const (
	NVIDIA  = "nvidia"
	Modeset = "nvidia-modeset"
	Peermem = "nvidia-peermem"
	UVM     = "nvidia-uvm"
	Stub    = "stub"
)

// Bases are the names of NVIDIA's modules that variants are made from.
var Bases = []string{NVIDIA, Modeset, Peermem, UVM}

// Variant is a module to be loaded, after others.
type Variant struct {
	// Done says what was done to the module, by a word for where it was done:
	// "vermagic: of another release".
	Done string
	// Parts are the modules in the order in which they are loaded. The last is
	// the variant, and those before it its siblings.
	Parts []Part
	// Before are modules of the kernel's own, by name, that are loaded before
	// them.
	Before []string
	// Policy says that no kernel looks at what was done.
	Policy bool
}

// Part is a module of a variant.
type Part struct {
	// Base is what it is made from, one of [Bases] or [Stub].
	Base string
	edit edit
	// file changes the whole file after that.
	file func([]byte) ([]byte, error)
}

// File is the name of the part's file: a base's own, as modprobe would have it.
func (p Part) File() string {
	if p.Base == Stub {
		return NVIDIA + ".ko"
	}
	return p.Base + ".ko"
}

// Make makes the part from its base's file.
func (p Part) Make(base []byte) ([]byte, error) {
	file := base
	if p.edit != nil {
		o, err := parse(base)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", p.Base, err)
		}
		if err := p.edit(o); err != nil {
			return nil, fmt.Errorf("%s: %w", p.Base, err)
		}
		file = o.bytes()
	}
	if p.file == nil {
		return file, nil
	}
	return p.file(slices.Clone(file))
}

// as is a module as it was built, as far as [edited] leaves it so.
func as(base string) Part { return edited(base) }

// edited is a module with changes. A sibling of nvidia's also loses its init
// and exit, which have no nvidia to work with: what becomes of them is no
// verdict of the kernel's on the file.
func edited(base string, edits ...edit) Part {
	if base == Modeset || base == UVM {
		edits = append(edits, withoutInit)
	}
	if len(edits) == 0 {
		return Part{Base: base}
	}
	return Part{Base: base, edit: all(edits...)}
}

// Of returns the variants for a kernel. It fails where the kernel has no
// symbol of a class that a variant needs.
func Of(k Kernel) ([]Variant, error) {
	m := maker{Kernel: k}
	var list []Variant
	for _, some := range []func() []Variant{
		m.sound, m.files, m.vermagics, m.thisModules, m.unresolved, m.crcs, m.licences, m.namespaces,
		m.exports, m.relocations, m.policies,
	} {
		list = append(list, some()...)
	}
	if k.Sign {
		for _, v := range list {
			v.sign(signed(k.Held))
		}
	}
	return append(list, m.signatures()...), m.err
}

// sign signs every part of a variant, as the last thing that is done to it.
func (v Variant) sign(signed func([]byte) ([]byte, error)) {
	for i, p := range v.Parts {
		v.Parts[i].file = signed
		if p.file != nil {
			v.Parts[i].file = then(p.file, signed)
		}
	}
}

// maker makes the variants of one kernel.
type maker struct {
	Kernel
	err error
}

// symbol is the kernel's own export that a test finds first, by length and
// name: a version's name is short.
func (m *maker) symbol(what string, is func(kernel.Symbol) bool) string {
	return m.symbolOf("vmlinux", what, is)
}

// symbolOf is one of a module's in the same way.
func (m *maker) symbolOf(module, what string, is func(kernel.Symbol) bool) string {
	var fit []kernel.Symbol
	for _, s := range m.Target.Exports.Symbols {
		if s.Module == module && is(s) {
			fit = append(fit, s)
		}
	}
	if len(fit) == 0 {
		m.err = cmp.Or(m.err, fmt.Errorf("kernel %s exports no %s", m.Target.Release, what))
		return ""
	}
	return slices.MinFunc(fit, func(a, b kernel.Symbol) int {
		return cmp.Or(cmp.Compare(len(a.Name), len(b.Name)), cmp.Compare(a.Name, b.Name))
	}).Name
}

// plain, gplOnly, spaced and gplSpaced are exports of their kinds.
func (m *maker) plain() string {
	return m.symbol("plain symbol", func(s kernel.Symbol) bool { return s.License == kernel.LicenseAny && s.Namespace == "" })
}

func (m *maker) gplOnly() string {
	return m.symbol("GPL-only symbol", func(s kernel.Symbol) bool { return s.License == kernel.LicenseGPL && s.Namespace == "" })
}

func (m *maker) spaced() string {
	return m.symbol("symbol in a namespace", func(s kernel.Symbol) bool { return s.Namespace != "" })
}

func (m *maker) gplSpaced() string {
	return m.symbol("GPL-only symbol in a namespace", func(s kernel.Symbol) bool { return s.License == kernel.LicenseGPL && s.Namespace != "" })
}

// export is the kernel's export of a name.
func (m *maker) export(name string) kernel.Symbol {
	for _, s := range m.Target.Exports.Symbols {
		if s.Name == name {
			return s
		}
	}
	m.err = cmp.Or(m.err, fmt.Errorf("kernel %s does not export %s", m.Target.Release, name))
	return kernel.Symbol{}
}

// uses has the module use an export of the kernel, with its version where the
// kernel has versions; how says where among the symbols.
func (m *maker) uses(name string, how func(string) edit) edit {
	if !m.Target.Config.Bool("MODVERSIONS") {
		return how(name)
	}
	return all(how(name), setVersion(name, m.export(name).CRC))
}
