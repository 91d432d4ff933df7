package types

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"github.com/cilium/ebpf/btf"
)

// Comparison is what comparing one kind of thing came to.
type Comparison struct {
	// Compared is how many were compared.
	Compared int
	// Unknown are those of which the kernel's type information has nothing,
	// sorted by name.
	Unknown []string
	// Undeclared are imported symbols that no header declares, sorted by name.
	Undeclared []string
	// Differences are what is otherwise in the kernel, what others follow from
	// first.
	Differences []Difference
}

// Difference is a type or symbol that is otherwise in the kernel.
type Difference struct {
	// Name is "struct pci_dev" or "pci_resize_resource()".
	Name string
	// Clauses say what differs, the first member first; never none. More is how much
	// else does.
	Clauses []string
	More    int
}

// clausesSaid is how much of one difference is said: what was put in is often not what
// moved by it.
const clausesSaid = 2

// String is the difference for a person, with the first things that differ.
func (d Difference) String() string {
	s := d.Name + ": " + strings.Join(d.Clauses, ", ")
	if d.More > 0 {
		s += fmt.Sprintf(" (and %d more)", d.More)
	}
	return s
}

func (c *Comparison) differs(name string, found clauses) {
	c.Differences = append(c.Differences, Difference{Name: name, Clauses: found.said, More: found.n - len(found.said)})
}

// Layouts holds every struct, union and enum of a record against those of that
// name in the kernel: size, each member's name, place, width and type, each
// constant's value. Where the kernel has several of a name, one has to match.
func (r *Record) Layouts(kernel *Info) Comparison {
	var c Comparison
	comparer := newComparer()
	differing := map[string]bool{}
	for _, s := range r.types {
		candidates := kernel.subjects(s.name)
		if len(candidates) == 0 {
			c.Unknown = append(c.Unknown, s.name)
			continue
		}
		c.Compared++
		if found := fewest(candidates, func(t btf.Type) clauses { return comparer.differSubjects(s.Type, t) }); found.n > 0 {
			c.differs(s.name, found)
			differing[s.name] = true
		}
	}
	for _, v := range r.constants {
		values := kernel.constants[v.Name]
		if len(values) > 0 && !slices.Contains(values, v.Value&valueMask) && !slices.Contains(ofModules, v.Name) {
			var found clauses
			found.add("it is %s in this kernel and %s in the source", value(values[0]), value(v.Value))
			c.differs("constant "+v.Name, found)
		}
	}
	r.order(comparer, c.Differences, differing)
	if comparer.left < 0 {
		var found clauses
		found.add("they have more members than any source has, and not all were compared")
		c.differs("the types on record", found)
	}
	slices.Sort(c.Unknown)
	return c
}

// ofModules are constants to which a header gives another value in a module than in the
// kernel itself (#ifdef MODULE): of include/linux/proc_fs.h.
var ofModules = []string{"PROC_ENTRY_PERMANENT"}

// order puts what others follow from first.
func (r *Record) order(c *comparer, list []Difference, differing map[string]bool) {
	follows := map[string]bool{}
	for _, s := range r.types {
		if _, members, ok := membersOf(s.Type); ok && differing[s.name] {
			follows[s.name] = slices.ContainsFunc(c.flatten(members), func(m member) bool { return contains(m.typ, differing) })
		}
	}
	slices.SortFunc(list, func(a, b Difference) int {
		return cmp.Or(compareBools(follows[a.Name], follows[b.Name]), strings.Compare(a.Name, b.Name))
	})
}

func compareBools(a, b bool) int {
	switch {
	case a == b:
		return 0
	case b:
		return -1
	}
	return 1
}

// contains says whether a member has a type that differs in itself, not behind a pointer.
func contains(t btf.Type, differing map[string]bool) bool {
	for range maxDepth {
		if d, ok := t.(*btf.Typedef); ok && differing["typedef "+d.Name] {
			return true
		}
		inner, ok := unnamed(t)
		if a, array := t.(*btf.Array); array {
			inner, ok = a.Type, true
		}
		if !ok {
			break
		}
		t = inner
	}
	name, _ := tagOf(t)
	return differing[name]
}

// subjects are the kernel's types of a name such as "struct pci_dev".
func (i *Info) subjects(name string) (list []btf.Type) {
	_, bareName, _ := strings.Cut(name, " ")
	for _, t := range i.named[bareName] {
		if s, ok := subjectOf(t); ok && s.name == name {
			list = append(list, s.Type)
		}
	}
	return list
}

func (c *comparer) differSubjects(source, kernel btf.Type) clauses {
	s, isEnum := source.(*btf.Enum)
	k, bothEnums := kernel.(*btf.Enum)
	if isEnum && bothEnums {
		return differEnums(s, k)
	}
	return c.differLayouts(source, kernel, 0)
}

// fewest are the clauses of the candidate that comes nearest.
func fewest(candidates []btf.Type, differ func(btf.Type) clauses) clauses {
	nearest := differ(candidates[0])
	for _, t := range candidates[1:] {
		if nearest.n == 0 {
			break
		}
		if found := differ(t); found.n < nearest.n {
			nearest = found
		}
	}
	return nearest
}

// Prototypes holds the declarations of symbols against what the kernel's type
// information has under these names: functions, and per-CPU variables. Of functions
// in assembly it has the name alone, which is as good as nothing.
func (r *Record) Prototypes(kernel *Info, symbols []string) Comparison {
	var c Comparison
	comparer := newComparer()
	for _, symbol := range symbols {
		declared, ok := r.imports[symbol]
		if !ok {
			c.Undeclared = append(c.Undeclared, symbol)
			continue
		}
		candidates := kernel.definitions(symbol)
		if len(candidates) == 0 {
			c.Unknown = append(c.Unknown, symbol)
			continue
		}
		found := fewest(candidates, func(t btf.Type) (list clauses) {
			if d := comparer.differ(declared, t, 0); d != "" {
				list.add("%s", d)
			}
			return list
		})
		switch {
		case found.n == 0:
			c.Compared++
		case len(candidates) == 1 && isVoid(candidates[0]):
			c.Unknown = append(c.Unknown, symbol)
		default:
			c.Compared++
			name := symbol
			if _, function := bare(declared).(*btf.FuncProto); function {
				name += "()"
			}
			c.differs(name, found)
		}
	}
	slices.Sort(c.Unknown)
	slices.Sort(c.Undeclared)
	return c
}

// definitions are the functions and variables of a name.
func (i *Info) definitions(name string) (list []btf.Type) {
	for _, t := range i.named[name] {
		switch t := t.(type) {
		case *btf.Func:
			list = append(list, t.Type)
		case *btf.Var:
			list = append(list, t.Type)
		}
	}
	return list
}

// isVoid says whether a function takes and returns nothing, as those in assembly
// seem to: their debugging information has no more.
func isVoid(t btf.Type) bool {
	f, ok := t.(*btf.FuncProto)
	if !ok || len(f.Params) > 0 {
		return false
	}
	_, ok = bare(f.Return).(*btf.Void)
	return ok
}
