package live_test

import (
	"fmt"

	"github.com/k8sp/cuda/pkg/node/live"
)

// A container that has a folder of the host's as its share, and its own /dev with
// a file system in it.
func ExampleParseMounts() {
	mounts := live.ParseMounts(`600 500 0:52 / / rw - overlay overlay rw
601 600 8:9 /home/core/my\040share /opt/share rw - ext4 /dev/sda9 rw
610 600 0:99 / /dev rw - tmpfs tmpfs rw
`)
	for _, name := range []string{"/opt/share/modules", "/dev/nvidia0", "/etc/cdi"} {
		mount, inside, _ := mounts.At(name)
		fmt.Printf("%s is %s of the %s at %s\n", name, inside, mount.Type, mount.Point)
	}
	// Output:
	// /opt/share/modules is /home/core/my share/modules of the ext4 at /opt/share
	// /dev/nvidia0 is /nvidia0 of the tmpfs at /dev
	// /etc/cdi is /etc/cdi of the overlay at /
}
