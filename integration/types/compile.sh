# shellcheck shell=bash
# Compiles a driver against the headers of a host, altered as those of the kernels
# before the change of pci_resize_resource(), and leaves in /tmp/driver what it was
# compiled in; the headers are in /usr/src then, as they were. What does not compile is
# left out.
# $release is the kernel's; the driver's sources are in /driver, the host in /host

cp -a /host/usr/src/. /usr/src/
cp -a /host/usr/lib/linux-kbuild-* /usr/lib/
# shellcheck disable=SC2154 # set by who runs this
output=/usr/src/linux-headers-$release
common=$(sed -n 's,^include \(.*\)/Makefile$,\1,p' "$output/Makefile")
compiler=$(sed -nE 's/^CONFIG_CC_VERSION_TEXT="[^ ]*gcc-([0-9]+) .*/gcc-\1/p' "$output/.config")
pci=$common/include/linux/pci.h

cp "$pci" /tmp/pci.h
sed -i '/^int __must_check pci_resize_resource(struct pci_dev \*dev, int i, int size,$/{N;s/,\n.*exclude_bars);/);/}' "$pci"
cp -r /driver /tmp/driver
make -k -C /tmp/driver "-j$(nproc)" modules SYSSRC="$common" SYSOUT="$output" CC="$compiler" NV_KERNEL_MODULES="$modules" \
    IGNORE_CC_MISMATCH=1 KCFLAGS=-g0 >/tmp/compile.log 2>&1 || { grep -m 3 error: /tmp/compile.log >&2 || tail -n 5 /tmp/compile.log >&2; }
cp /tmp/pci.h "$pci"
