package live

import (
	"path"
	"strings"
	"testing"
)

// FuzzMounts has whatever is found for a path of one namespace be a path that
// leads to the same in the other.
func FuzzMounts(f *testing.F) {
	f.Add("25 1 8:9 / / rw - ext4 /dev/sda9 rw\n40 25 8:17 / /srv rw - xfs /dev/sdb1 rw\n", "8:17", "/share")
	f.Add("25 1 0:30 /@ / rw - btrfs /dev/sda3 rw\n26 25 0:30 /@home /home rw shared:1 - btrfs /dev/sda3 rw\n", "0:30", "/@home/core")
	f.Add(`1 1 1:1 /a\040b /c\011d rw - x y z`, "1:1", "/a b/c")
	f.Fuzz(func(t *testing.T, text, device, inside string) {
		if inside = path.Clean("/" + inside); strings.Contains(inside, "\x00") {
			return // no path has that
		}
		mounts := ParseMounts(text)
		name, found := mounts.find(device, inside)
		if !found {
			return
		}
		mount, there, ok := mounts.At(name)
		if !ok || mount.Device != device || there != inside {
			t.Errorf("%q is %q of %q, want %q of %q", name, there, mount.Device, inside, device)
		}
	})
}
