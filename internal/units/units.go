// Package units writes amounts for people, in logs, errors and on the terminal,
// the same everywhere.
package units

import "fmt"

// Bytes is a size in the units that disks are sold by: "2.5 GB", "9 MB",
// "12 kB".
func Bytes(n uint64) string {
	switch {
	case n >= 1e9:
		return fmt.Sprintf("%.1f GB", float64(n)/1e9)
	case n < 1e6:
		return fmt.Sprintf("%.0f kB", float64(n)/1e3)
	}
	return fmt.Sprintf("%.0f MB", float64(n)/1e6)
}
