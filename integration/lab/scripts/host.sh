# shellcheck shell=bash
# Boots Debian's kernel once, in QEMU without KVM, and keeps what it says.

modules='virtio_pci virtio_blk drm_kms_helper video ipmi_msghandler ipmi_devintf'

mkdir -p /tmp/image /tmp/initramfs/bin /tmp/initramfs/dev /tmp/initramfs/proc /tmp/initramfs/sys /tmp/initramfs/record
dpkg-deb --extract /packages/image.deb /tmp/image
kernel=$(ls /tmp/image/lib/modules)
depmod --basedir /tmp/image "$kernel"
for module in $modules; do
    modprobe --dirname /tmp/image --set-version "$kernel" --show-depends "$module"
done | awk '$1 == "insmod" { print $2 }' | sort -u | sed 's,^/tmp/image/,,' |
    (cd /tmp/image && xargs cp --parents --target-directory /tmp/initramfs)
depmod --basedir /tmp/initramfs "$kernel" 2>/dev/null # of the modules.order that is not there
cp /bin/busybox /tmp/initramfs/bin/busybox
mv init /tmp/initramfs/init
(cd /tmp/initramfs && find . | cpio --quiet --create --format newc) >/tmp/initramfs.cpio

truncate --size 64M /tmp/disk
timeout 120 qemu-system-x86_64 -accel tcg -m 512 -nodefaults -display none -no-reboot \
    -kernel "/tmp/image/boot/vmlinuz-$kernel" -initrd /tmp/initramfs.cpio -append 'console=ttyS0 quiet' \
    -drive file=/tmp/disk,format=raw,if=virtio -serial file:/tmp/console ||
    { cat /tmp/console >&2; exit 1; }
tar --extract --no-same-owner --file /tmp/disk || { cat /tmp/console >&2; exit 1; }
cp "/tmp/image/boot/config-$kernel" config
