# shellcheck shell=bash
# Compiles a driver against the headers, altered as those of the kernels before the change
# of pci_resize_resource(), and leaves in /tmp/driver what it was compiled in; the headers
# are as they were then. What does not compile is left out. headers.sh comes before this.
# $modules are those to compile; the driver's sources are in /driver

# shellcheck disable=SC2154 # of headers.sh
pci=$common/include/linux/pci.h
cp "$pci" /tmp/pci.h
sed -i '/^int __must_check pci_resize_resource(struct pci_dev \*dev, int i, int size,$/{N;s/,\n.*exclude_bars);/);/}' "$pci"
cp -r /driver /tmp/driver
# shellcheck disable=SC2154 # set by who runs this
make -k -C /tmp/driver "-j$(nproc)" modules SYSSRC="$common" SYSOUT="$output" CC="$compiler" NV_KERNEL_MODULES="$modules" \
    IGNORE_CC_MISMATCH=1 KCFLAGS=-g0 >/tmp/compile.log 2>&1 || { grep -m 3 error: /tmp/compile.log >&2 || tail -n 5 /tmp/compile.log >&2; }
cp /tmp/pci.h "$pci"
