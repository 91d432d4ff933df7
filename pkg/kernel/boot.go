package kernel

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"regexp"
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
// or its device tree, which are to be seen in every container of root's, and only
// where there is neither of its machine-id(5).
func HostID(host *Root) string {
	var said string
	for _, name := range []string{
		"sys/class/dmi/id/product_uuid", "sys/class/dmi/id/product_serial", "sys/class/dmi/id/board_serial",
		"sys/firmware/devicetree/base/serial-number",
	} {
		if text := host.Text(name); text != "" {
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
