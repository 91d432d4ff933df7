package breaks

import (
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
)

// Range is a range of versions, both ends included. Its text is "FIRST..LAST", where
// LAST stands for all that begin so ("6.12.97..6.12" are 6.12.97 and all later ones of
// the 6.12 line), or "FIRST.." for all from there on.
type Range struct{ first, last []int }

var rangeShape = regexp.MustCompile(`^(\d+(?:\.\d+){1,2})\.\.(\d+(?:\.\d+){1,2})?$`)

// UnmarshalText reads a range.
func (r *Range) UnmarshalText(text []byte) error {
	m := rangeShape.FindSubmatch(text)
	if m == nil {
		return fmt.Errorf("%q is not a range of versions, FIRST..LAST", text)
	}
	r.first, r.last = numbers(string(m[1])), numbers(string(m[2]))
	if !r.contains(r.first) {
		return fmt.Errorf("%q ends before it begins", text)
	}
	return nil
}

func (r Range) contains(version []int) bool {
	return slices.Compare(version, r.first) >= 0 &&
		(len(r.last) == 0 || slices.Compare(version[:min(len(version), len(r.last))], r.last) <= 0)
}

// String says the range in words.
func (r Range) String() string {
	first, last := dotted(r.first), dotted(r.last)
	switch {
	case last == "":
		return first + " and later"
	case last == first:
		return first
	case strings.HasPrefix(first, last+"."):
		return last + " from " + first + " on"
	}
	return first + " to " + last
}

func dotted(version []int) string {
	var parts []string
	for _, n := range version {
		parts = append(parts, strconv.Itoa(n))
	}
	return strings.Join(parts, ".")
}

func within(list []Range, version []int) bool {
	return slices.ContainsFunc(list, func(r Range) bool { return r.contains(version) })
}

// numbers are a version's; none of "".
func numbers(version string) (list []int) {
	for part := range strings.SplitSeq(version, ".") {
		if n, err := strconv.Atoi(part); err == nil {
			list = append(list, n)
		}
	}
	return list
}

func compare(a, b string) int { return slices.Compare(numbers(a), numbers(b)) }
