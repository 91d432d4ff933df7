# shellcheck shell=bash
# Compiles nvidia/nv-pci.c, in both forms of the driver that Debian has, against the
# headers of the oldest and the newest of Debian's kernels of one line that the mirror
# has. Of each it leaves FORM-KERNEL.log, whose first line is "DRIVER VERSION STATUS":
# the driver's version, that of the kernel's source, and make's exit status.

mirror=$(sed -nE 's/^(deb|URIs:) +(http[^ ]*).*/\2/p' /etc/apt/sources.list.d/debian.sources | head -n 1)
printf 'Types: deb\nURIs: %s\nSuites: bookworm\nComponents: contrib non-free\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' \
    "$mirror" >/etc/apt/sources.list.d/lab.sources
apt-get update -qq

mapfile -t kernels < <(apt-cache search --names-only '^linux-headers-6\.1\.0-[0-9]+-amd64$' | awk '{ print $1 }' | sort --version-sort | sed -n '1p;$p' | uniq)
mkdir /tmp/packages /tmp/sources
cd /tmp/packages || exit
apt-get download -qq "${kernels[@]}" "${kernels[@]/%-amd64/-common}" linux-kbuild-6.1 nvidia-kernel-source nvidia-open-kernel-source
for package in *.deb; do dpkg-deb --extract "$package" /tmp/root; done
cp -r /tmp/root/usr/src/. /usr/src
cp -r /tmp/root/usr/lib/linux-kbuild-6.1 /usr/lib

# compile FORM NAME KERNEL
compile() {
    local headers=/usr/src/$3 sources=/tmp/sources/$1-$3 status=0 driver version
    mkdir "$sources"
    tar --extract --xz --file "/usr/src/$2.tar.xz" --directory "$sources" --strip-components 2
    driver=$(sed -nE 's/.*NV_VERSION_STRING=\\"([0-9.]+)\\".*/\1/p' "$sources/Kbuild")
    version=$(sed -nE 's/^# Linux\/x86 ([0-9.]+) Kernel Configuration$/\1/p' "$headers/.config")
    make -C "$headers" "M=$sources" "NV_KERNEL_SOURCES=${headers%-amd64}-common" "NV_KERNEL_OUTPUT=$headers" NV_KERNEL_MODULES=nvidia \
        IGNORE_CC_MISMATCH=1 "-j$(nproc)" nvidia/nv-pci.o >"/tmp/$1-$3" 2>&1 || status=$?
    { echo "$driver $version $status" && cat "/tmp/$1-$3"; } >"/out/$1-$3.log"
}
for kernel in "${kernels[@]}"; do
    compile open nvidia-open-kernel "$kernel"
done
compile proprietary nvidia-kernel "${kernels[-1]}"
