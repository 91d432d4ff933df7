package main

import (
	"fmt"
	"os"
	"slices"
)

// quantity is one thing that is measured, of one program.
type quantity string

const (
	sourceTime   quantity = "source stage, time"
	sourceBytes  quantity = "source stage, network"
	sourceDisk   quantity = "source stage, disk"
	sourceMemory quantity = "source stage, memory"
	secondTime   quantity = "source stage of a second release, time"

	depth1Time  quantity = "git clone --depth 1, time"
	depth1Bytes quantity = "git clone --depth 1, network"
	depth1Disk  quantity = "git clone --depth 1, disk"
	sparseTime  quantity = "git's partial and sparse clone, time"
	gogitMemory quantity = "go-git's plain clone, memory"

	jobTime     quantity = "whole job, time"
	ownTime     quantity = "whole job without kbuild and the installer, time"
	rerunTime   quantity = "rerun, time"
	checkTime   quantity = "check stage, time"
	jobMemory   quantity = "whole job, memory"
	classicTime quantity = "classic script, time"

	stageTime     quantity = "build stage, time"
	nextStageTime quantity = "build stage of the line's next driver, time"
	cellTime      quantity = "cell of a matrix, time"

	pullTime       quantity = "node with a registry hit, time"
	pullKernelTime quantity = "node with a registry hit and the libraries, time"
	pullBytes      quantity = "node with a registry hit, network"
	savedBytes     quantity = "docker save and gzip, bytes"

	imageSize    quantity = "image over its base"
	compilerSize quantity = "a further compiler"
	binarySize   quantity = "binary"
)

// measurements are the values of each quantity, in seconds or bytes, one a turn.
type measurements map[quantity][]float64

func (m measurements) add(q quantity, value float64) {
	m[q] = append(m[q], value)
	fmt.Fprintf(os.Stderr, "bench: %s: %.4g\n", q, value)
}

// median of values that there must be; of an even number it is the mean of the
// two in the middle.
func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	n := len(sorted)
	return (sorted[(n-1)/2] + sorted[n/2]) / 2
}
