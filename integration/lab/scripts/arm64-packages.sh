# shellcheck shell=bash
# Downloads arm64's packages: a kernel, and of one version the sources of NVIDIA's kernel
# modules in both forms, their firmware, and some of the driver's libraries and programs.
# They are data here: nothing of them is installed.
# $kernel is the kernel's release, $source and $driver the packages' versions

dpkg --add-architecture arm64
apt-get update -qq
# shellcheck disable=SC2154 # set by who runs this
firmware=$(apt-cache madison firmware-nvidia-gsp:arm64 | awk '{ print $3 }' | grep -m 1 "^${driver%-*}-")
# shellcheck disable=SC2154
apt-get download -qq "linux-image-$kernel:arm64=$source" "nvidia-kernel-source:arm64=$driver" \
    "nvidia-open-kernel-source:arm64=$driver" "firmware-nvidia-gsp:arm64=$firmware"
mv linux-image-*.deb kernel.deb
mv nvidia-kernel-source_*.deb nvidia.deb
mv nvidia-open-kernel-source_*.deb nvidia-open.deb
mv firmware-nvidia-gsp_*.deb firmware.deb
mkdir user
cd user || exit
for package in libcuda1 libnvidia-ml1 libnvidia-cfg1 libnvidia-ptxjitcompiler1 nvidia-smi nvidia-cuda-mps libglx-nvidia0; do
    apt-get download -qq "$package:arm64=$driver"
done
