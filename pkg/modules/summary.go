package modules

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// Group are the findings of a gate with one verdict, and for those that were not to be
// had of one remedy.
type Group struct {
	Verdict Verdict `json:"verdict"`
	// Findings is how many there are, and Checks the names of their checks, sorted.
	Findings int      `json:"findings"`
	Checks   []string `json:"checks"`
	// Do is what would have shown it; empty but for [NotCheckable].
	Do string `json:"do,omitempty"`
}

// Summarize groups the findings of a gate: those that passed, those that failed, where
// there are any, those that could not be checked here by what would show them, the
// most first, and those that the kernel does not ask for.
func Summarize(checks []Check) []Group {
	groups := map[string]*Group{}
	for _, c := range checks {
		do := ""
		if c.Verdict == NotCheckable {
			do = remedy(c.Detail)
		}
		key := string(c.Verdict) + "\x00" + do
		g := groups[key]
		if g == nil {
			g = &Group{Verdict: c.Verdict, Do: do}
			groups[key] = g
		}
		g.Findings++
		if !slices.Contains(g.Checks, c.Name) {
			g.Checks = append(g.Checks, c.Name)
		}
	}
	list := make([]Group, 0, len(groups))
	for _, g := range groups {
		slices.Sort(g.Checks)
		list = append(list, *g)
	}
	order := []Verdict{Passed, Failed, NotCheckable, NotAsked}
	slices.SortFunc(list, func(a, b Group) int {
		return cmp.Or(slices.Index(order, a.Verdict)-slices.Index(order, b.Verdict), b.Findings-a.Findings, cmp.Compare(a.Do, b.Do))
	})
	return list
}

// remedy is the part of a detail that says what to mount, or to name.
func remedy(detail string) string {
	for _, verb := range []string{"mount ", "name it with "} {
		if i := strings.LastIndex(detail, ": "+verb); i >= 0 {
			return detail[i+2:]
		}
	}
	return ""
}

// String is the group as a line for people.
func (g Group) String() string {
	text := fmt.Sprintf("%s: %d", strings.ReplaceAll(string(g.Verdict), "-", " "), g.Findings)
	if g.Verdict == Passed {
		return text + fmt.Sprintf(" findings of %d checks", len(g.Checks))
	}
	text += ", of " + strings.Join(g.Checks, ", ")
	if g.Do != "" {
		text += "; to have them: " + g.Do
	}
	return text
}
