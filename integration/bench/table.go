package main

import (
	"cmp"
	"fmt"
	"slices"
)

// unit says how a figure reads.
type unit func(float64) string

func seconds(v float64) string {
	if v < 10 {
		return fmt.Sprintf("%.2f s", v)
	}
	return fmt.Sprintf("%.1f s", v)
}

func megabytes(v float64) string {
	if v < 1e8 {
		return fmt.Sprintf("%.1f MB", v/1e6)
	}
	return fmt.Sprintf("%.0f MB", v/1e6)
}

// target is a row of the table: a quantity that is to be small, beside another
// or by itself.
type target struct {
	figure  string
	of      quantity
	against string
	base    quantity // "" for a figure that has its limit by itself
	unit    unit
	most    float64 // of the ratio, or of the figure
	// each holds the ratio of every turn against the limit, and not that of the medians.
	each bool
	// why is what is known to be in the way, for where it is missed.
	why string
}

// targets are what the project set out to reach.
var targets = []target{
	{"source stage, cold, time", sourceTime, "`git clone --depth 1`", depth1Time, seconds, 0.22, false, ""},
	{"the same", sourceTime, "git's own partial and sparse clone", sparseTime, seconds, 1.00, false, ""},
	{"its bytes on the network", sourceBytes, "`git clone --depth 1`", depth1Bytes, megabytes, 0.20, false, ""},
	{"disk of `linux/`", sourceDisk, "`git clone --depth 1`", depth1Disk, megabytes, 0.12, false, ""},
	{"peak memory of builder in it", sourceMemory, "go-git's plain clone", gogitMemory, megabytes, 0.25, false, ""},
	{"whole job, cold", jobTime, "the classic script", classicTime, seconds, 0.70, false, ""},
	{"everything but kbuild and the installer, cold", ownTime, "whole job, cold", jobTime, seconds, 0.05, false,
		"the checkout and the check stage are over half of it, and nothing of it runs beside kbuild; to unpack the driver and lay out its libraries there would take a fifth of it off"},
	{"check stage, with the proof that the types are the kernel's", checkTime, "whole job, cold", jobTime, seconds, 0.03, false, ""},
	{"peak memory of builder in the job", jobMemory, "", "", megabytes, 150e6, false, ""},
	{"rerun, nothing changed, digests verified", rerunTime, "whole job, cold", jobTime, seconds, 0.01, false, ""},
	{"source stage of a second release, in every turn", secondTime, "of the first", sourceTime, seconds, 0.45, true,
		"the new tree is made beside the old one: 2,000 folders are made and removed, and 9,000 files looked at for changes, hashed, linked and removed; to change the old one in its place would be quicker, and lose it to a crash"},
	{"build stage of the line's next driver, on the same share", nextStageTime, "of the first", stageTime, seconds, 0.65, false,
		"the answers that are kept are a quarter of a first build, since make asks each once; to compile the driver, which no answer saves, is over half of it"},
	{"a cell of a matrix of 2 kernels and 3 drivers, measured once", cellTime, "whole job, cold", jobTime, seconds, 0.60, false,
		"a cell beside the first of its kernel is the row above and 5 s more"},
	{"node with a registry hit: start to published and checked", pullTime, "its own build", jobTime, seconds, 0.05, false, ""},
	{"the same, with the driver's user space already there", pullKernelTime, "its own build", jobTime, seconds, 0.02, false, ""},
	{"bytes pulled: modules, firmware, compute user space", pullBytes, "the same files by `docker save` and gzip", savedBytes, megabytes, 0.75, false,
		"NVIDIA's own object and the GSP's firmware are nine tenths of the bytes and hardly compress, by zstd at its level 19 to 0.89 of gzip's"},
	{"the image over its Debian base, one compiler", imageSize, "", "", megabytes, 280e6, false, ""},
	{"each further compiler in it", compilerSize, "", "", megabytes, 70e6, false, ""},
	{"the static binary", binarySize, "", "", megabytes, 24e6, false, ""},
}

// row is a target as it came out, in words.
type row struct {
	figure, measured, against, base, ratio, most string
	met                                          bool
	why                                          string // it is missed
}

// fill makes the rows of what was measured.
func fill(m measurements) ([]row, error) {
	var rows []row
	for _, t := range targets {
		values := m[t.of]
		if len(values) == 0 || (t.base != "" && len(m[t.base]) == 0) {
			return nil, fmt.Errorf("%s was not measured", t.figure)
		}
		r := row{figure: t.figure, measured: spread(values, t.unit), against: t.against}
		if t.base == "" {
			worst := slices.Max(values)
			r.most, r.met = t.unit(t.most), worst <= t.most
		} else {
			ratio := median(values) / median(m[t.base])
			worst := ratio
			if t.each {
				worst = slices.Max(ratios(values, m[t.base]))
			}
			r.base, r.ratio = spread(m[t.base], t.unit), fmt.Sprintf("%.3f", ratio)
			if worst > ratio {
				r.ratio += fmt.Sprintf(" (at worst %.3f)", worst)
			}
			r.most, r.met = fmt.Sprintf("%.2f", t.most), worst <= t.most
		}
		if !r.met {
			r.why = cmp.Or(t.why, "the reason is not known")
		}
		rows = append(rows, r)
	}
	return rows, nil
}

// ratios are those of the turns, of which each has measured both.
func ratios(of, base []float64) []float64 {
	list := make([]float64, len(of))
	for i := range of {
		list[i] = of[i] / base[i]
	}
	return list
}

// spread is the median of values, and the range that they are in where that is
// not a point.
func spread(values []float64, u unit) string {
	low, high := u(slices.Min(values)), u(slices.Max(values))
	if low == high {
		return low
	}
	return fmt.Sprintf("%s (%s to %s)", u(median(values)), low, high)
}
