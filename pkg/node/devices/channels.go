package devices

import (
	"cmp"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
)

// channelsDir is the folder of IMEX channels' device files, by which GPUs of several
// nodes of a rack share memory.
const channelsDir = "nvidia-caps-imex-channels"

var channelName = regexp.MustCompile(`^channel([0-9]+)$`)

// Channels are the paths, as in [File], of the IMEX channels that are in dev, whoever has
// made them, by number: the driver wants none made but the first, and that only where it
// was asked to.
func Channels(dev string) []string {
	entries, err := os.ReadDir(filepath.Join(dev, channelsDir))
	if err != nil {
		return nil
	}
	numbers := map[string]int{}
	var list []string
	for _, e := range entries {
		match := channelName.FindStringSubmatch(e.Name())
		if match == nil || e.Type()&fs.ModeCharDevice == 0 {
			continue
		}
		if n, err := strconv.Atoi(match[1]); err == nil {
			name := path.Join(channelsDir, e.Name())
			numbers[name], list = n, append(list, name)
		}
	}
	slices.SortFunc(list, func(a, b string) int { return cmp.Compare(numbers[a], numbers[b]) })
	return list
}
