# shellcheck shell=bash
# Lays out a driver package. Debian's copy of kernel/ is NVIDIA's, with
# Debian's patches for newer kernels, plus its own packaging: that goes.

dpkg-deb --extract /packages/nvidia.deb /tmp/nvidia
tar --extract --xz --file /tmp/nvidia/usr/src/nvidia-kernel.tar.xz --directory /tmp
mv /tmp/modules/nvidia-kernel kernel
rm -rf kernel/debian kernel/NVIDIA_Changelog
dpkg-deb --extract /packages/firmware.deb /tmp/firmware
mkdir firmware
find /tmp/firmware -path '*/nvidia/*' -name 'gsp_*.bin' -exec cp {} firmware/ ';'
find kernel firmware -type f -exec chmod 0644 {} +
install -m 0444 /tmp/nvidia/usr/share/doc/nvidia-kernel-source/copyright LICENSE
install -m 0755 /nvidia-installer nvidia-installer
