# shellcheck shell=bash
# Downloads a kernel's source, the same kernel built, and NVIDIA's kernel
# modules' source with the firmware of that version. The source and the built kernel must be of one version, and
# the mirror may offer several of each: the newest that it has both of.

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
apt-get download -qq "linux-source-6.1=$source" "linux-image-$kernel=$source" nvidia-kernel-source
driver=$(dpkg-deb --field nvidia-kernel-source_*.deb Version)
firmware=$(apt-cache madison firmware-nvidia-gsp | awk '{ print $3 }' | grep -m 1 "^${driver%-*}-")
apt-get download -qq "firmware-nvidia-gsp=$firmware"
mv linux-source-*.deb source.deb
mv linux-image-*.deb image.deb
mv nvidia-kernel-source_*.deb nvidia.deb
mv firmware-nvidia-gsp_*.deb firmware.deb
printf 'kernel %s\nsource %s\ndriver %s\n' "$kernel" "$source" "$driver" >versions
