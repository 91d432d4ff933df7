package probe

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"fmt"
	"io"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/rs/zerolog"

	"github.com/k8sp/cuda/internal/beneath"
	"github.com/k8sp/cuda/internal/cause"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
	"github.com/k8sp/cuda/pkg/kernel/types"
)

// Options are what modules were built with.
type Options struct {
	// Runner runs make and pahole; required.
	Runner command.Runner
	// Target and Tree are what they were built for and against.
	Target kernel.Target
	Tree   prepare.Tree
	// Objects is the folder that they were compiled in.
	Objects string
	// Imports are the symbols that they import of the kernel and its modules.
	Imports []string
	// Scratch is where a folder is made to work in, and removed.
	Scratch string
}

// An UnknownError is modules of which it cannot be found out what they were compiled
// with, on a machine that is as it should be.
type UnknownError struct {
	// Reason is a clause.
	Reason string
}

func (e *UnknownError) Error() string { return e.Reason }

// NoPahole is the reason where that program is not there.
const NoPahole = "there is no pahole to make BTF: run builder in its own image, which has it"

// flags have the compiler describe every type, also those that nothing uses, however
// the kernel's config has its own debugging information reduced, split or
// compressed, in a form that pahole of any age reads.
func flags(config kernel.Config) []string {
	list := []string{
		"-w", "-g", "-gdwarf-4", "-gz=none",
		"-fno-eliminate-unused-debug-types", "-femit-struct-debug-detailed=any",
	}
	if config.Bool("DEBUG_INFO_SPLIT") {
		list = append(list, "-gno-split-dwarf") // which gcc before 11 does not know
	}
	return list
}

const (
	unit = "types"
	// tries bounds how often the unit is compiled: with all declarations, and then
	// without those that there are not.
	tries = 3
	// outputLimit bounds what is kept of the compiler's output, objectLimit what is
	// read of the object.
	outputLimit = 1 << 20
	objectLimit = 64 << 20
)

// Types compiles the unit. Its error is an [UnknownError], the context's, or one of
// the disk.
func Types(ctx context.Context, o Options) (*types.Record, error) {
	headers, err := Headers(o.Objects)
	if errors.Is(err, errNone) {
		return nil, &UnknownError{err.Error()}
	}
	if err != nil {
		return nil, &UnknownError{"kbuild's record of what the modules were compiled of is of no use: " + err.Error()}
	}
	if _, err := command.LookPath("pahole"); err != nil {
		return nil, &UnknownError{NoPahole}
	}
	dir := filepath.Join(o.Scratch, "types")
	defer beneath.RemoveAll(dir)
	imports := slices.DeleteFunc(slices.Clone(o.Imports), func(s string) bool { return !identifier.MatchString(s) })
	for range tries {
		text, lines := source(headers, imports)
		undeclared, err := o.compile(ctx, dir, text, lines)
		if err != nil {
			return nil, err
		}
		if len(undeclared) == 0 {
			return o.read(ctx, dir)
		}
		zerolog.Ctx(ctx).Debug().Strs("symbols", undeclared).Msg("imported symbols that no header declares")
		imports = slices.DeleteFunc(imports, func(s string) bool { return slices.Contains(undeclared, s) })
	}
	return nil, &UnknownError{"a unit with the modules' headers does not compile, and the compiler does not say which declarations it lacks"}
}

// identifier is a symbol that can be a name in C.
var identifier = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

// source is the unit's text, and which symbol is declared on which of its lines.
func source(headers, imports []string) (text []byte, lines map[int]string) {
	var b bytes.Buffer
	line := 0
	write := func(format string, args ...any) {
		fmt.Fprintf(&b, format+"\n", args...)
		line++
	}
	for _, h := range headers {
		write("#include <%s>", h)
	}
	for _, s := range imports {
		write("#undef %s", s) // a macro of that name is not what is imported
	}
	write("struct %s {", types.ImportsStruct)
	lines = map[int]string{}
	for _, s := range imports {
		write("\ttypeof(%s) *%[1]s;", s)
		lines[line] = s
	}
	write("};")
	return b.Bytes(), lines
}

// errorLine finds what the compiler says of a line of the unit.
var errorLine = regexp.MustCompile(`(?m)^(?:[^\s:]*/)?` + unit + `\.c:([0-9]+):(?:[0-9]+:)? error: `)

// compile compiles the unit, and returns the symbols on whose lines there are errors
// where there are no others.
func (o Options) compile(ctx context.Context, dir string, text []byte, lines map[int]string) (undeclared []string, err error) {
	said := bounded{limit: outputLimit}
	var first cause.Finder
	err = o.Tree.Compile(ctx, o.Target, o.Runner, prepare.Unit{Name: unit, Text: text, Flags: flags(o.Target.Config), Dir: dir, Output: io.MultiWriter(&said, &first)})
	if err == nil {
		return nil, nil
	}
	if ctx.Err() != nil || !errors.As(err, new(*command.ExitError)) {
		return nil, err
	}
	for _, found := range errorLine.FindAllStringSubmatch(said.String(), -1) {
		n, _ := strconv.Atoi(found[1]) // digits
		symbol, ok := lines[n]
		if !ok {
			undeclared = nil
			break
		}
		if !slices.Contains(undeclared, symbol) {
			undeclared = append(undeclared, symbol)
		}
	}
	if len(undeclared) == 0 || strings.Count(said.String(), " error: ") > len(errorLine.FindAllString(said.String(), -1)) {
		why := "it ended with an error"
		if line := first.Cause(); line != "" {
			why = line
		}
		return nil, &UnknownError{"a unit with the modules' headers does not compile: " + why}
	}
	return undeclared, nil
}

// read makes BTF of the unit's debugging information.
func (o Options) read(ctx context.Context, dir string) (*types.Record, error) {
	object := filepath.Join(dir, unit+".o")
	said := bounded{limit: outputLimit}
	err := o.Runner.Run(ctx, command.Command{
		Args: []string{"pahole", "-J", object},
		// Before 1.21 it has objcopy put the section in, and asks for LLVM's.
		Env:    []string{"LC_ALL=C", "LLVM_OBJCOPY=" + o.Tree.CrossCompile() + "objcopy", "TMPDIR=" + dir},
		Writes: []string{dir}, Output: &said,
	})
	if err != nil {
		if ctx.Err() != nil || !errors.As(err, new(*command.ExitError)) {
			return nil, err
		}
		return nil, &UnknownError{fmt.Sprintf("pahole does not make BTF (%v: %s)", err, lastLine(said.String()))}
	}
	data, err := command.ReadLeft(object, objectLimit)
	if err != nil {
		return nil, err
	}
	raw, err := section(data, ".BTF")
	if err != nil {
		return nil, &UnknownError{"what pahole left is of no use: " + err.Error()}
	}
	record, err := types.NewRecord(raw)
	if err != nil {
		return nil, &UnknownError{"the BTF that pahole made is of no use: " + err.Error()}
	}
	return record, nil
}

func section(object []byte, name string) ([]byte, error) {
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	s := f.Section(name)
	if s == nil {
		return nil, fmt.Errorf("no section %s", name)
	}
	return s.Data()
}

func lastLine(text string) string {
	text = strings.TrimSpace(text)
	return text[strings.LastIndexByte(text, '\n')+1:]
}

// bounded keeps the beginning of what is written to it.
type bounded struct {
	bytes.Buffer
	limit int
}

func (b *bounded) Write(p []byte) (int, error) {
	if room := b.limit - b.Len(); room > 0 {
		b.Buffer.Write(p[:min(room, len(p))])
	}
	return len(p), nil
}
