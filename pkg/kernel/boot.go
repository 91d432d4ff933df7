package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// bootID is what the kernel calls the time since it was started: a UUID.
var bootID = regexp.MustCompile(`^[0-9a-f-]{36}$`)

// BootID identifies a host since it was last started
// (/proc/sys/kernel/random/boot_id). Its error means that nothing does.
func BootID(host *Root) (string, error) {
	id := host.Text("proc/sys/kernel/random/boot_id")
	if !bootID.MatchString(id) {
		return "", fmt.Errorf("%q in proc/sys/kernel/random/boot_id identifies no boot", id)
	}
	return id, nil
}

// HostID tells a host from others, from one start to the next: 16 hexadecimal
// digits, or "" where the host says nothing of itself. It is a digest of what
// the machine's firmware calls it (Documentation/ABI/testing/sysfs-class-dmi),
// which every container of root's sees, or its device tree, which Docker hides
// from those without --privileged; and of its machine-id(5), which depends on
// what is mounted, only where there is neither.
func HostID(host *Root) string {
	var said string
	for _, name := range []string{
		"sys/class/dmi/id/product_uuid", "sys/class/dmi/id/product_serial", "sys/class/dmi/id/board_serial",
		"sys/firmware/devicetree/base/serial-number",
	} {
		if text := host.Text(name); !isPlaceholder(text) {
			said += name + "=" + text + "\n"
		}
	}
	if said == "" {
		said = host.Text("etc/machine-id")
	}
	if said == "" {
		return ""
	}
	sum := sha256.Sum256([]byte(said))
	return hex.EncodeToString(sum[:8])
}

// placeholders are what makers of boards leave where a number of the machine's own
// is to be, in small letters; 03000200-… is the UUID of many boards.
var placeholders = []string{
	"", "default string", "to be filled by o.e.m.", "to be filled by o.e.m", "system serial number", "base board serial number",
	"not specified", "not applicable", "not available", "n/a", "none", "unknown", "0123456789", "123456789",
	"03000200-0400-0500-0006-000700080009",
}

// isPlaceholder says whether what a machine's firmware says is the same on many:
// one of these, or all zeros, or all f.
func isPlaceholder(text string) bool {
	text = strings.ToLower(strings.TrimSpace(text))
	digits := strings.ReplaceAll(text, "-", "")
	return slices.Contains(placeholders, text) || strings.Trim(digits, "0") == "" || strings.Trim(digits, "f") == ""
}
