package staged

import (
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strconv"
	"strings"

	"github.com/k8sp/cuda/pkg/kernel"
	"github.com/k8sp/cuda/pkg/stage"
)

// Update is a staged update.
type Update struct {
	// ID is of this staging and no other: not of one on another host, of an earlier
	// boot, or after a reset.
	ID string
	// Slot is "a" or "b": which of the two systems the next boot brings.
	Slot string

	// device and image are the names, in the host's root, of the partition with that
	// system's /usr and of its kernel.
	device, image string
}

// ErrNone is that no update is staged.
var ErrNone = errors.New("no update is staged")

const (
	// mark is what update_engine makes when the update is in place; its status is
	// UPDATED_NEED_REBOOT from then on. (/run/reboot-required is there after an update of
	// system extensions, too.)
	mark = "run/update_engine_autoupdate_completed"
	// booted is there on every host that runs systemd (sd_booted(3)).
	booted = "run/systemd/system"
)

// mountHint is what a container needs to see.
const mountHint = "mount the host's /run, /dev and /boot below /host, read-only: -v /run:/host/run:ro -v /dev:/host/dev:ro -v /boot:/host/boot:ro"

// Find finds the update that is staged on a host; [ErrNone] where none is. Its other
// errors are of the detect stage.
func Find(host *kernel.Root) (Update, error) {
	if !host.Exists(booted) {
		return Update{}, stage.New(stage.Detect, "whether an update is staged is not to be seen: the host's /run, as systemd has it, is not there", mountHint)
	}
	made, err := host.Changed(mark)
	if errors.Is(err, fs.ErrNotExist) {
		return Update{}, ErrNone
	}
	if err != nil {
		return Update{}, stage.Wrap(stage.Detect, err, "whether an update is staged is not to be seen", mountHint)
	}
	boot, err := kernel.BootID(host)
	if err != nil {
		return Update{}, stage.Wrap(stage.Detect, err, "it is not known which boot of the host this is", "run where /proc is the host's kernel's")
	}
	u := Update{ID: boot + "." + strconv.FormatInt(made, 36)}
	running, err := runningPartition(host)
	if err != nil {
		return Update{}, err
	}
	if u.Slot, u.device, err = otherPartition(host, running); err != nil {
		return Update{}, err
	}
	u.image, err = kernelImage(host, u.Slot)
	return u, err
}

// usrWords are the words of a kernel's command line by which the boot loader names the
// partition with /usr: below dm-verity, or as it is.
var usrWords = []string{"verity.usr", "mount.usr", "usr"}

// runningPartition is the device of the /usr that runs: "sda3".
func runningPartition(host *kernel.Root) (string, error) {
	words := map[string]string{}
	for _, word := range strings.Fields(host.Text("proc/cmdline")) {
		name, value, _ := strings.Cut(word, "=")
		words[name] = value
	}
	for _, name := range usrWords {
		id, ok := strings.CutPrefix(words[name], "PARTUUID=")
		if !ok {
			if id, ok = strings.CutPrefix(words[name], "/dev/disk/by-partuuid/"); !ok {
				continue
			}
		}
		link := host.Link("dev/disk/by-partuuid/" + strings.ToLower(path.Base(id)))
		if link == "" {
			return "", stage.New(stage.Detect, fmt.Sprintf("/usr is the partition %s, and the host's /dev/disk, which would tell where that is, is not to be seen", id), mountHint)
		}
		return path.Base(link), nil
	}
	return "", notFlatcar("the kernel's command line does not name the partition of /usr")
}

func notFlatcar(why string) error {
	return stage.New(stage.Detect, why+", as on a host that Flatcar's update_engine updates", "run this on such hosts alone; for others, build for the next kernel by its image (--kernel-image)")
}

// slots are the names of Flatcar's partitions for /usr, and each one's slot.
var slots = map[string]string{"USR-A": "a", "USR-B": "b"}

// otherPartition is the slot that does not run and, in the host's root, the device of its
// /usr, which is on the same disk.
func otherPartition(host *kernel.Root, running string) (slot, device string, err error) {
	const devices = "sys/class/block"
	link := host.Link(devices + "/" + running)
	if link == "" {
		return "", "", notFlatcar(fmt.Sprintf("the partition %s of /usr is not among the kernel's block devices", running))
	}
	disk := path.Join(devices, path.Dir(link))
	names := map[string]string{} // of partitions, by slot
	for _, name := range host.List(disk) {
		if slot, ok := slots[partitionName(host, disk+"/"+name)]; ok {
			names[slot] = name
		}
	}
	switch running {
	case names["a"]:
		slot = "b"
	case names["b"]:
		slot = "a"
	default:
		return "", "", notFlatcar(fmt.Sprintf("/usr is on %s, which is neither of a disk's partitions USR-A and USR-B", running))
	}
	if names[slot] == "" {
		return "", "", notFlatcar(fmt.Sprintf("the disk with %s has no partition USR-%s", running, strings.ToUpper(slot)))
	}
	return slot, "dev/" + names[slot], nil
}

// partitionName is a partition's name in its disk's table; "" of what is none.
func partitionName(host *kernel.Root, dir string) string {
	for line := range strings.Lines(host.Text(dir + "/uevent")) {
		if name, ok := strings.CutPrefix(strings.TrimSpace(line), "PARTNAME="); ok {
			return name
		}
	}
	return ""
}

// kernelImage is the image of a slot's kernel. Hosts that began as CoreOS have it in
// another folder, and there update_engine keeps to that one.
func kernelImage(host *kernel.Root, slot string) (string, error) {
	folder := "boot/flatcar"
	if host.Exists("boot/coreos/vmlinuz-a") || host.Exists("boot/coreos/vmlinuz-b") {
		folder = "boot/coreos"
	}
	image := folder + "/vmlinuz-" + slot
	if !host.Exists(image) {
		return "", stage.New(stage.Detect, fmt.Sprintf("there is no kernel image /%s", image), "have the host mount its /boot (ls /boot/ does), and show it here: -v /boot:/host/boot:ro")
	}
	return image, nil
}
