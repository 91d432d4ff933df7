package types

import (
	"cmp"
	"fmt"
	"math"
	"strconv"

	"github.com/cilium/ebpf/btf"
)

// maxDepth bounds how deep types without a name are compared: one inside the other.
// C's own have a handful; a file made to loop ends here.
const maxDepth = 32

// unnamed is what a name or a qualifier of a type stands for; false for a type that is
// neither.
func unnamed(t btf.Type) (btf.Type, bool) {
	switch q := t.(type) {
	case *btf.Typedef:
		return q.Type, true
	case *btf.Const:
		return q.Type, true
	case *btf.Volatile:
		return q.Type, true
	case *btf.Restrict:
		return q.Type, true
	case *btf.TypeTag:
		return q.Type, true
	}
	return t, false
}

// bare is a type without the names and qualifiers that do not change what its
// values look like.
func bare(t btf.Type) btf.Type {
	for range maxDepth {
		inner, ok := unnamed(t)
		if !ok {
			break
		}
		t = inner
	}
	return t
}

// comparer compares types of one source with those of one kernel.
type comparer struct {
	// said is what was found of a pair of types without a name. It keeps the work to
	// one time for each, in information that was made to explode, too.
	said map[pair]string
}

type pair struct{ source, kernel btf.Type }

func newComparer() *comparer { return &comparer{said: map[pair]string{}} }

// differ says how two types differ for whoever passes their values, in a clause
// about the source's and the kernel's; "" where they do not. Structs, unions and
// enums with a name are the same where their names are: their layouts are
// compared on their own.
func (c *comparer) differ(source, kernel btf.Type, depth int) string {
	source, kernel = bare(source), bare(kernel)
	both := pair{source, kernel}
	if said, ok := c.said[both]; ok || depth > maxDepth {
		return said
	}
	c.said[both] = "" // for whoever comes to it again from within
	c.said[both] = c.compare(source, kernel, depth)
	return c.said[both]
}

// compare is differ of bare types that were not compared yet.
func (c *comparer) compare(source, kernel btf.Type, depth int) string {
	other := func() string {
		return fmt.Sprintf("is %s in this kernel and %s in the source", say(kernel), say(source))
	}
	if tag, named := tagOf(source); named {
		if k, _ := tagOf(kernel); k != tag {
			return other()
		}
		return ""
	}
	switch s := source.(type) {
	case *btf.Void:
		if _, ok := kernel.(*btf.Void); !ok {
			return other()
		}
	case *btf.Int:
		k, ok := kernel.(*btf.Int)
		if !ok || k.Size != s.Size || signed(k) != signed(s) {
			return other()
		}
	case *btf.Float:
		if k, ok := kernel.(*btf.Float); !ok || k.Size != s.Size {
			return other()
		}
	case *btf.Pointer:
		k, ok := kernel.(*btf.Pointer)
		if !ok {
			return other()
		}
		if d := c.differ(s.Target, k.Target, depth+1); d != "" {
			if say(source) == say(kernel) || isFunction(s.Target) && isFunction(k.Target) {
				return d
			}
			return other()
		}
	case *btf.Array:
		k, ok := kernel.(*btf.Array)
		open := depth == 0 && s.Nelems == 0 // as in extern int x[];
		if !ok || k.Nelems != s.Nelems && !open || c.differ(s.Type, k.Type, depth+1) != "" {
			return other()
		}
	case *btf.FuncProto:
		k, ok := kernel.(*btf.FuncProto)
		if !ok {
			return other()
		}
		return c.differPrototypes(s, k, depth)
	case *btf.Enum:
		if k, ok := kernel.(*btf.Enum); !ok || k.Name != "" || k.Size != s.Size {
			return other()
		}
	case *btf.Struct, *btf.Union:
		if list := c.differLayouts(source, kernel, depth+1); len(list) > 0 {
			return list[0]
		}
	}
	return ""
}

func isFunction(t btf.Type) bool {
	_, ok := bare(t).(*btf.FuncProto)
	return ok
}

func signed(i *btf.Int) bool { return i.Encoding == btf.Signed }

// tagOf is a struct, union or enum as C names it, "struct pci_dev"; named is false
// for what has no name of its own.
func tagOf(t btf.Type) (tag string, named bool) {
	kind := ""
	switch t := t.(type) {
	case *btf.Struct:
		kind = "struct "
	case *btf.Union:
		kind = "union "
	case *btf.Enum:
		kind = "enum "
	case *btf.Fwd:
		kind = map[btf.FwdKind]string{btf.FwdStruct: "struct ", btf.FwdUnion: "union "}[t.Kind]
	}
	if kind == "" || t.TypeName() == "" {
		return "", false
	}
	return kind + t.TypeName(), true
}

// differPrototypes compares what a function takes and returns.
func (c *comparer) differPrototypes(source, kernel *btf.FuncProto, depth int) string {
	if s, k := arguments(source), arguments(kernel); s != k {
		return fmt.Sprintf("takes %s in this kernel and %s in the source", k, s)
	}
	for i := range source.Params {
		if d := c.differ(source.Params[i].Type, kernel.Params[i].Type, depth+1); d != "" {
			return fmt.Sprintf("argument %d %s", i+1, d)
		}
	}
	if c.differ(source.Return, kernel.Return, depth+1) != "" {
		return fmt.Sprintf("returns %s in this kernel and %s in the source", say(kernel.Return), say(source.Return))
	}
	return ""
}

// arguments is how many a function takes: "3 arguments", "1 argument and more".
func arguments(f *btf.FuncProto) string {
	n := len(f.Params)
	if n == 0 {
		return "no arguments"
	}
	more := ""
	if _, variadic := f.Params[n-1].Type.(*btf.Void); variadic {
		n, more = n-1, " and more"
	}
	if n == 1 {
		return "1 argument" + more
	}
	return fmt.Sprintf("%d arguments%s", n, more)
}

// member is one of a struct or union, with those that a member without a name
// brings with it.
type member struct {
	name   string
	offset btf.Bits
	width  btf.Bits // 0 for what has no size of its own, such as a flexible array
	bits   bool     // of a bit field
	typ    btf.Type
}

func membersOf(t btf.Type) (size uint32, members []btf.Member, ok bool) {
	switch t := t.(type) {
	case *btf.Struct:
		return t.Size, t.Members, true
	case *btf.Union:
		return t.Size, t.Members, true
	}
	return 0, nil, false
}

// maxMembers bounds how many members are looked at of one struct, with those inside: the
// kernel's have up to 300.
const maxMembers = 20_000

// flatten lists the members of a struct or union, in place of those without a name what
// is in them.
func flatten(members []btf.Member) []member {
	f := flattener{left: maxMembers}
	f.add(members, 0, 0)
	return f.list
}

type flattener struct {
	list []member
	left int // how many members are still looked at
}

func (f *flattener) add(members []btf.Member, at btf.Bits, depth int) {
	for _, m := range members {
		if f.left--; f.left < 0 {
			return
		}
		if m.Name == "" {
			if _, inner, ok := membersOf(bare(m.Type)); ok && depth < maxDepth {
				f.add(inner, at+m.Offset, depth+1)
			}
			continue
		}
		one := member{name: m.Name, offset: at + m.Offset, width: m.BitfieldSize, bits: m.BitfieldSize > 0, typ: m.Type}
		if !one.bits {
			if n, err := btf.Sizeof(m.Type); err == nil {
				one.width = btf.Bits(n) * 8
			}
		}
		f.list = append(f.list, one)
	}
}

// differLayouts compares two structs or unions, member by member, and returns a
// clause for each difference.
func (c *comparer) differLayouts(source, kernel btf.Type, depth int) (clauses []string) {
	sourceSize, s, _ := membersOf(source)
	kernelSize, k, ok := membersOf(kernel)
	if _, union := source.(*btf.Union); !ok || union != isUnion(kernel) {
		return []string{fmt.Sprintf("is %s in this kernel and %s in the source", say(kernel), say(source))}
	}
	theirs := map[string]member{}
	for _, m := range flatten(k) {
		theirs[m.name] = m
	}
	for _, m := range flatten(s) {
		other, ok := theirs[m.name]
		if !ok {
			clauses = append(clauses, fmt.Sprintf("member %s is not in this kernel", m.name))
			continue
		}
		delete(theirs, m.name)
		switch {
		case m.offset != other.offset:
			clauses = append(clauses, fmt.Sprintf("member %s is at %s in this kernel and at %s in the source", m.name, place(other), place(m)))
		case m.width != other.width || m.bits != other.bits:
			clauses = append(clauses, fmt.Sprintf("member %s takes %s in this kernel and %s in the source", m.name, width(other), width(m)))
		default:
			if d := c.differ(m.typ, other.typ, depth+1); d != "" {
				clauses = append(clauses, fmt.Sprintf("member %s %s", m.name, d))
			}
		}
	}
	for _, m := range flatten(k) {
		if _, left := theirs[m.name]; left {
			clauses = append(clauses, fmt.Sprintf("member %s of this kernel, at %s, is not in the source", m.name, place(m)))
		}
	}
	if sourceSize != kernelSize {
		clauses = append(clauses, fmt.Sprintf("its size is %d bytes in this kernel and %d in the source", kernelSize, sourceSize))
	}
	return clauses
}

func isUnion(t btf.Type) bool {
	_, ok := t.(*btf.Union)
	return ok
}

func place(m member) string {
	if m.offset%8 != 0 || m.bits {
		return fmt.Sprintf("byte %d, bit %d", m.offset/8, m.offset%8)
	}
	return fmt.Sprintf("byte %d", m.offset/8)
}

func width(m member) string {
	n, unit := m.width/8, "byte"
	if m.bits {
		n, unit = m.width, "bit"
	}
	if n != 1 {
		unit += "s"
	}
	return fmt.Sprintf("%d %s", n, unit)
}

// differEnums compares the values of two enums.
func differEnums(source, kernel *btf.Enum) (clauses []string) {
	theirs := map[string]uint64{}
	for _, v := range kernel.Values {
		theirs[v.Name] = v.Value
	}
	for _, v := range source.Values {
		k, ok := theirs[v.Name]
		delete(theirs, v.Name)
		switch {
		case !ok:
			clauses = append(clauses, v.Name+" is not in this kernel")
		case k&valueMask != v.Value&valueMask:
			clauses = append(clauses, fmt.Sprintf("%s is %s in this kernel and %s in the source", v.Name, value(k), value(v.Value)))
		}
	}
	for _, v := range kernel.Values {
		if _, left := theirs[v.Name]; left {
			clauses = append(clauses, fmt.Sprintf("%s of this kernel, %s, is not in the source", v.Name, value(v.Value)))
		}
	}
	if source.Size != kernel.Size {
		clauses = append(clauses, fmt.Sprintf("its size is %d bytes in this kernel and %d in the source", kernel.Size, source.Size))
	}
	return clauses
}

// valueMask are the bits of an enum's value that are compared. Before ENUM64 came,
// in 2022, BTF had the lower half of the values of 8 bytes.
const valueMask = math.MaxUint32

// value is an enum's for people: BTF has those of four bytes with and without a sign.
func value(v uint64) string { return strconv.FormatInt(int64(int32(v&valueMask)), 10) }

// say is a type as C would write it, as far as a person needs it.
func say(t btf.Type) string { return sayDeep(t, 0) }

func sayDeep(t btf.Type, depth int) string {
	if depth > 6 {
		return "…"
	}
	switch t := t.(type) {
	case *btf.Void:
		return "void"
	case *btf.Pointer:
		if f, ok := bare(t.Target).(*btf.FuncProto); ok {
			return fmt.Sprintf("a function of %s that returns %s", arguments(f), sayDeep(f.Return, depth+1))
		}
		return sayDeep(t.Target, depth+1) + " *"
	case *btf.Array:
		return fmt.Sprintf("%s[%d]", sayDeep(t.Type, depth+1), t.Nelems)
	case *btf.Const:
		return "const " + sayDeep(t.Type, depth+1)
	case *btf.Volatile:
		return sayDeep(t.Type, depth+1)
	case *btf.Restrict:
		return sayDeep(t.Type, depth+1)
	case *btf.TypeTag:
		return sayDeep(t.Type, depth+1)
	case *btf.FuncProto:
		return fmt.Sprintf("a function of %s that returns %s", arguments(t), sayDeep(t.Return, depth+1))
	case *btf.Struct:
		return cmp.Or(tag(t), "a struct without a name")
	case *btf.Union:
		return cmp.Or(tag(t), "a union without a name")
	case *btf.Enum:
		return cmp.Or(tag(t), "an enum without a name")
	case *btf.Fwd:
		return cmp.Or(tag(t), "a type without a name")
	}
	return cmp.Or(t.TypeName(), "another type")
}

func tag(t btf.Type) string {
	name, _ := tagOf(t)
	return name
}
