# shellcheck shell=bash
# Runs a virtual machine until it powers off or its kernel crashes. KVM is not
# asked for: a machine that lacks it should see the same.
# $memory in MiB; the file append has words for the kernel's command line

disk=()
if [ -e /disk ]; then
    cp --sparse=always /disk disk
    disk=(-drive "file=disk,format=raw,if=none,id=disk" -device "nvme,drive=disk,serial=disk")
fi
# shellcheck disable=SC2154 # set by who runs this
qemu-system-x86_64 -accel tcg -smp 1 -m "$memory" -nodefaults -display none -no-reboot \
    -kernel /kernel -initrd initramfs \
    -append "console=ttyS0 oops=panic panic=-1 initcall_debug $(cat append)" \
    "${disk[@]}" -serial file:console -serial file:results
if [ -e /disk ] && ! cmp --silent /disk disk; then touch wrote; fi
