# shellcheck shell=bash
# Runs a virtual machine until it powers off or its kernel crashes. KVM is not
# asked for: a machine that lacks it should see the same.
# $memory in MiB, $arch amd64 or arm64; the file append has words for the kernel's
# command line

disk=()
if [ -e /disk ]; then
    cp --sparse=always /disk disk
    disk=(-drive "file=disk,format=raw,if=none,id=disk" -device "nvme,drive=disk,serial=disk")
fi
# The results' port is the second of a PC, and of the other machine, which has one port
# of its own, the first on its bus.
# shellcheck disable=SC2154 # set by who runs this
case "$arch" in
amd64) qemu=(qemu-system-x86_64) console=ttyS0 results=(-serial file:results) ;;
arm64)
    qemu=(qemu-system-aarch64 -machine virt -cpu cortex-a72) console=ttyAMA0
    results=(-chardev "file,id=results,path=results" -device "pci-serial,chardev=results")
    ;;
esac
# shellcheck disable=SC2154
"${qemu[@]}" -accel tcg -smp 1 -m "$memory" -nodefaults -display none -no-reboot \
    -kernel /kernel -initrd initramfs \
    -append "console=$console oops=panic panic=-1 initcall_debug $(cat append)" \
    "${disk[@]}" -serial file:console "${results[@]}"
if [ -e /disk ] && ! cmp --silent /disk disk; then touch wrote; fi
