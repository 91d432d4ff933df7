# shellcheck shell=bash
# Makes disks as Flatcar's are partitioned, with a system in USR-B whose modules are those
# below /modules, and file systems as Flatcar has and had them.

mkdir -p usr/lib
cp -r /modules usr/lib/modules
printf 'ID=flatcar\nVERSION_ID=4593.2.5\n' >usr/lib/os-release
mkdir other
cp -r usr/. other
echo 'VERSION=4459.2.1' >>other/lib/os-release

# disk FILE USR-A USR-B: their numbers, names and identifiers are those of every Flatcar.
disk() {
    local sectors=$((256 * 2048))
    truncate -s 640M "$1"
    sfdisk --quiet "$1" <<END
label: gpt
1: start=2048, size=2048, name=EFI-SYSTEM
3: start=4096, size=$sectors, name=USR-A, uuid=7130C94A-213A-4E5A-8E26-6CCE9662F132
4: start=$((4096 + sectors)), size=$sectors, name=USR-B, uuid=E03DD35C-7C2D-4A47-B3FE-27F15780A57C
END
    dd if="$2" of="$1" bs=1M seek=2 conv=notrunc,sparse status=none
    dd if="$3" of="$1" bs=1M seek=258 conv=notrunc,sparse status=none
}

for part in other usr; do
    truncate -s 256M "$part.btrfs" "$part.ext4"
    mkfs.btrfs --quiet --rootdir "$part" "$part.btrfs"
    mkfs.ext4 -q -O ^has_journal -d "$part" "$part.ext4"
done
disk btrfs.raw other.btrfs usr.btrfs
disk ext4.raw other.ext4 usr.ext4
disk same.raw usr.btrfs usr.btrfs
cp /usr/bin/busybox .
rm -r usr other ./*.btrfs ./*.ext4
