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
	// left is how many members are still looked at.
	left int
}

// maxMembers bounds how many members are looked at in all: what drivers include of the
// kernel's has some 50,000.
const maxMembers = 4_000_000

type pair struct{ source, kernel btf.Type }

func newComparer() *comparer { return &comparer{said: map[pair]string{}, left: maxMembers} }

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
		if !sameNumber(s, kernel) {
			return other()
		}
	case *btf.Float:
		if size, ok := numberSize(kernel); !ok || size != s.Size {
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
		if !ok {
			return other()
		}
		element, n := elements(s)
		theirs, m := elements(k)
		open := depth == 0 && n == 0 // as in extern int x[];
		if m != n && !open || c.differ(element, theirs, depth+1) != "" {
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
		if list := c.differLayouts(source, kernel, depth+1); list.n > 0 {
			return list.said[0]
		}
	}
	return ""
}

// elements are what an array is of, and how many there are in all: an array of arrays is
// one array to paholes such as Debian 13's, and stays what it is with that of Debian's next.
func elements(a *btf.Array) (element btf.Type, n uint64) {
	n = uint64(a.Nelems)
	for range maxDepth {
		inner, ok := bare(a.Type).(*btf.Array)
		if !ok {
			break
		}
		a, n = inner, n*uint64(inner.Nelems)
	}
	return a.Type, n
}

func isFunction(t btf.Type) bool {
	_, ok := bare(t).(*btf.FuncProto)
	return ok
}

// numberSize is how many bytes a number of the kernel's takes. pahole writes floating
// ones as integers, where it is not told otherwise.
func numberSize(t btf.Type) (size uint32, ok bool) {
	switch t := t.(type) {
	case *btf.Int:
		return t.Size, true
	case *btf.Float:
		return t.Size, true
	}
	return 0, false
}

// sameNumber compares integers. Whether a char has a sign pahole says since 1.24 only, of
// 2022: what made the kernel's type information may be older than what makes ours, or
// younger.
func sameNumber(source *btf.Int, kernel btf.Type) bool {
	size, ok := numberSize(kernel)
	if !ok || size != source.Size {
		return false
	}
	k, integer := kernel.(*btf.Int)
	return !integer || size == 1 || (k.Encoding == btf.Signed) == (source.Encoding == btf.Signed)
}

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

// flatten lists the members of a struct or union, in place of those without a name what
// is in them.
func (c *comparer) flatten(members []btf.Member) []member {
	f := flattener{left: &c.left}
	f.add(members, 0, 0)
	return f.list
}

type flattener struct {
	list []member
	left *int
}

func (f *flattener) add(members []btf.Member, at btf.Bits, depth int) {
	for _, m := range members {
		if *f.left--; *f.left < 0 {
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

// clauses are what differs between two types: the first of it, in words, and how much.
type clauses struct {
	said []string
	n    int
}

func (c *clauses) add(format string, args ...any) {
	if c.n++; len(c.said) < clausesSaid {
		c.said = append(c.said, fmt.Sprintf(format, args...))
	}
}

// differLayouts compares two structs or unions, member by member, and returns a
// clause for each difference.
func (c *comparer) differLayouts(source, kernel btf.Type, depth int) (list clauses) {
	sourceSize, s, _ := membersOf(source)
	kernelSize, k, ok := membersOf(kernel)
	if _, union := source.(*btf.Union); !ok || union != isUnion(kernel) {
		list.add("is %s in this kernel and %s in the source", say(kernel), say(source))
		return list
	}
	theirs := map[string]member{}
	kernels := c.flatten(k)
	for _, m := range kernels {
		theirs[m.name] = m
	}
	for _, m := range c.flatten(s) {
		other, ok := theirs[m.name]
		if !ok {
			list.add("member %s is not in this kernel", m.name)
			continue
		}
		delete(theirs, m.name)
		switch {
		case m.offset != other.offset:
			list.add("member %s is at %s in this kernel and at %s in the source", m.name, place(other), place(m))
		case m.width != other.width || m.bits != other.bits:
			list.add("member %s takes %s in this kernel and %s in the source", m.name, width(other), width(m))
		default:
			if d := c.differ(m.typ, other.typ, depth+1); d != "" {
				list.add("member %s %s", m.name, d)
			}
		}
	}
	for _, m := range kernels {
		if _, left := theirs[m.name]; left {
			list.add("member %s of this kernel, at %s, is not in the source", m.name, place(m))
		}
	}
	if sourceSize != kernelSize {
		list.add("its size is %d bytes in this kernel and %d in the source", kernelSize, sourceSize)
	}
	return list
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
func differEnums(source, kernel *btf.Enum) (list clauses) {
	theirs := map[string]uint64{}
	for _, v := range kernel.Values {
		theirs[v.Name] = v.Value
	}
	for _, v := range source.Values {
		k, ok := theirs[v.Name]
		delete(theirs, v.Name)
		switch {
		case !ok:
			list.add("%s is not in this kernel", v.Name)
		case k&valueMask != v.Value&valueMask:
			list.add("%s is %s in this kernel and %s in the source", v.Name, value(k), value(v.Value))
		}
	}
	for _, v := range kernel.Values {
		if _, left := theirs[v.Name]; left {
			list.add("%s of this kernel, %s, is not in the source", v.Name, value(v.Value))
		}
	}
	if source.Size != kernel.Size {
		list.add("its size is %d bytes in this kernel and %d in the source", kernel.Size, source.Size)
	}
	return list
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
