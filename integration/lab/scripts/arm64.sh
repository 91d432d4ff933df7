# shellcheck shell=bash
# Lays out the root of a host that runs Debian's arm64 kernel under another release: its
# image, its config, and of its modules those that a display needs.
# $kernel is the package's release, $release what it is to be

dpkg-deb --extract /packages/kernel.deb /tmp/kernel
mkdir -p boot lib
# shellcheck disable=SC2154 # set by who runs this
cp "/tmp/kernel/boot/vmlinuz-$kernel" "boot/vmlinuz-$release"
cp "/tmp/kernel/boot/config-$kernel" "boot/config-$release"
mv /tmp/kernel/lib/modules lib/modules
mv "lib/modules/$kernel" "lib/modules/$release"
cd "lib/modules/$release" || exit
rm -f build source
depmod --basedir /out "$release"
mapfile -t wanted < <(awk -F: '/\/(drm_kms_helper|video)\.ko:/ { print $1 $2 }' modules.dep | tr ' ' '\n')
find kernel -name '*.ko' | grep -vxF "$(printf '%s\n' "${wanted[@]}")" | xargs rm -f
find kernel -type d -empty -delete
depmod --basedir /out "$release"
