# shellcheck shell=bash
# Lays out a driver package with both forms of its modules. Debian's copies of
# the sources are NVIDIA's, with Debian's patches for newer kernels, plus its
# own packaging: that goes.

unpack() { # $1 name of the Debian package, $2 its file, $3 folder
    dpkg-deb --extract "$2" "/tmp/$1"
    tar --extract --xz --file "/tmp/$1/usr/src/$1.tar.xz" --directory /tmp
    mv "/tmp/modules/$1" "$3"
    rm -rf "$3/debian" "$3/NVIDIA_Changelog"
    find "$3" -type f -exec chmod 0644 {} +
}
unpack nvidia-kernel /packages/nvidia.deb kernel
unpack nvidia-open-kernel /packages/nvidia-open.deb kernel-open
dpkg-deb --extract /packages/firmware.deb /tmp/firmware
mkdir firmware
find /tmp/firmware -path '*/nvidia/*' -name 'gsp_*.bin' -exec cp {} firmware/ ';'
chmod 0644 firmware/*
for package in /packages/user/*.deb; do dpkg-deb --extract "$package" /tmp/user; done
find /tmp/user/usr/lib /tmp/user/usr/bin /tmp/user/usr/sbin -type f \( -name 'lib*.so.*' -o -name 'nvidia-*' ! -name '*.gz' \) \
    -exec install -m 0755 '{}' . ';'
install -m 0444 /tmp/nvidia-kernel/usr/share/doc/nvidia-kernel-source/copyright LICENSE
install -m 0755 /nvidia-installer nvidia-installer
