package kernel

import (
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
