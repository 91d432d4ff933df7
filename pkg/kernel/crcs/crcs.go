package crcs

import (
	"bytes"
	"context"
	"debug/elf"
	"errors"
	"io"
	"io/fs"
	"maps"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/internal/cause"
	"github.com/k8sp/cuda/internal/command"
	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/kernel/prepare"
)

// Options say of what to compute checksums, and how.
type Options struct {
	// Runner runs make; required.
	Runner command.Runner
	// Target is the kernel, Tree a tree that was prepared for it of its whole source.
	// The objects are left in its output.
	Target kernel.Target
	Tree   prepare.Tree
	// Files are the files to compile, by [Exporters].
	Files map[string][]string
	// Jobs is how many compilers run at once.
	Jobs int
	// Log receives what make prints.
	Log io.Writer
}

// ErrNone is a source from which no checksum at all came out.
var ErrNone = errors.New("no checksum came out of the source")

// PerFile is about how many seconds of one processor a file takes to compile, measured
// on Linux 6.1.
const PerFile = 3

const (
	// objectLimit and commandLimit bound what is read of what make left, in bytes.
	objectLimit  = 256 << 20
	commandLimit = 8 << 20
)

// Compute compiles the files, and returns the checksums that came out, by symbol: of
// each the different ones of all files that export it. A file that does not compile is
// left out, as another config may be what it is for.
func Compute(ctx context.Context, o Options) (map[string][]uint32, error) {
	var goals []string
	for _, file := range slices.Sorted(maps.Keys(o.Files)) {
		goals = append(goals, strings.TrimSuffix(file, ".c")+".o")
	}
	if len(goals) == 0 {
		return nil, ErrNone // make without a goal would make all
	}
	var first cause.Finder
	err := o.Tree.Make(ctx, o.Target, o.Runner, o.Jobs, goals, io.MultiWriter(o.Log, &first))
	if err != nil && (ctx.Err() != nil || !errors.As(err, new(*command.ExitError))) {
		return nil, err
	}
	sums := map[string][]uint32{}
	for _, goal := range goals {
		found, err := left(o.Tree.Output, goal)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		for _, symbol := range o.Files[strings.TrimSuffix(goal, ".o")+".c"] {
			if sum, ok := found[symbol]; ok && !slices.Contains(sums[symbol], sum) {
				sums[symbol] = append(sums[symbol], sum)
			}
		}
	}
	if len(sums) == 0 {
		if line := first.Cause(); line != "" {
			return nil, errors.Join(ErrNone, errors.New(line))
		}
		return nil, ErrNone
	}
	return sums, nil
}

// left are the checksums that kbuild left of an object: since 5.19 in its record of
// the object's command, as lines "#SYMVER NAME 0xCRC"; before in the object, as the
// values of symbols __crc_NAME.
func left(output, goal string) (map[string]uint32, error) {
	dir, base := path.Split(goal)
	text, err := command.ReadLeft(filepath.Join(output, dir, "."+base+".cmd"), commandLimit)
	if err != nil {
		return nil, err
	}
	sums := map[string]uint32{}
	for _, m := range symver.FindAllSubmatch(text, -1) {
		if sum, err := strconv.ParseUint(string(m[2]), 16, 32); err == nil {
			sums[string(m[1])] = uint32(sum)
		}
	}
	if len(sums) > 0 {
		return sums, nil
	}
	object, err := command.ReadLeft(filepath.Join(output, goal), objectLimit)
	if err != nil {
		return nil, err
	}
	f, err := elf.NewFile(bytes.NewReader(object))
	if err != nil {
		return nil, err
	}
	symbols, err := f.Symbols()
	if err != nil {
		return nil, err
	}
	for _, s := range symbols {
		if name, ok := strings.CutPrefix(s.Name, "__crc_"); ok && s.Section == elf.SHN_ABS {
			sums[name] = uint32(s.Value)
		}
	}
	return sums, nil
}

var symver = regexp.MustCompile(`(?m)^#SYMVER ([A-Za-z_][A-Za-z0-9_]*) 0x([0-9a-f]{1,8})$`)
