package progress

import "fmt"

// Size is a number of bytes in the units that disks are sold by: "2.5 GB", "9 MB",
// "12 kB". Logs, errors and the terminal all write it so.
func Size(n uint64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n < 1e6:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}
