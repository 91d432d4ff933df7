# shellcheck shell=bash
# Downloads a kernel's source and, of one version, the sources of NVIDIA's kernel
# modules in both forms, their firmware, and some of the driver's libraries and
# programs. There must be a built kernel of the
# source's version, and the mirror may offer several of each: the newest that it
# has both of.

apt-get update -qq
for source in $(apt-cache madison linux-source-6.1 | awk '{ print $3 }'); do
    kernel=$(apt-cache show "linux-image-amd64=$source" 2>/dev/null |
        sed -nE 's/^Depends:.*linux-image-([0-9][^ ,]*).*/\1/p')
    if [ -n "$kernel" ]; then break; fi
done
if [ -z "$kernel" ]; then
    echo "the mirror has no linux-image-amd64 of a version of its linux-source-6.1" >&2
    exit 1
fi
driver=$(apt-cache policy nvidia-kernel-source | awk '$1 == "Candidate:" { print $2 }')
firmware=$(apt-cache madison firmware-nvidia-gsp | awk '{ print $3 }' | grep -m 1 "^${driver%-*}-")
apt-get download -qq "linux-source-6.1=$source" "nvidia-kernel-source=$driver" \
    "nvidia-open-kernel-source=$driver" "firmware-nvidia-gsp=$firmware"
mv linux-source-*.deb source.deb
mv nvidia-kernel-source_*.deb nvidia.deb
mv nvidia-open-kernel-source_*.deb nvidia-open.deb
mv firmware-nvidia-gsp_*.deb firmware.deb
mkdir user
(cd user && apt-get download -qq "libcuda1=$driver" "libnvidia-ml1=$driver" "libnvidia-cfg1=$driver" \
    "libnvidia-ptxjitcompiler1=$driver" "nvidia-smi=$driver" "nvidia-cuda-mps=$driver" "libglx-nvidia0=$driver")
printf 'kernel %s\nsource %s\ndriver %s\n' "$kernel" "$source" "$driver" >versions
