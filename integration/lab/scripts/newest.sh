# shellcheck shell=bash
# Lays out the root of a host that runs a kernel of Debian's, from its packages:
# image, config, those of its thousands of modules that a display needs, and headers.
# $kernel is the kernel's release

mkdir /tmp/all
for package in /packages/*.deb; do dpkg-deb --extract "$package" /tmp/all; done
cd /tmp/all || exit
if [ ! -e lib ]; then ln -s usr/lib lib; fi
# shellcheck disable=SC2154 # set by who runs this
depmod --basedir . "$kernel"
from=usr/lib/modules/$kernel

cd /out || exit
ln -s usr/lib lib
mkdir -p boot etc "$from"
# Later kernels have these with their modules, whence their installation copies them.
cp "/tmp/all/boot/vmlinuz-$kernel" boot/ 2>/dev/null || cp "/tmp/all/$from/vmlinuz" "boot/vmlinuz-$kernel"
cp "/tmp/all/boot/config-$kernel" boot/ 2>/dev/null || cp "/tmp/all/$from/config" "$from/"
cp "/tmp/all/$from"/modules.{builtin,builtin.modinfo,order} "$from/"
for module in drm_kms_helper video ipmi_devintf; do
    { grep -E "(^|/)$module\.ko[^:]*:" "/tmp/all/$from/modules.dep" || true; } | tr -d : | tr ' ' '\n'
done | sort -u | grep . | while read -r file; do
    mkdir -p "$from/$(dirname "$file")"
    cp "/tmp/all/$from/$file" "$from/$file"
done
depmod --basedir . "$kernel"
if [ -e /tmp/all/usr/src ]; then cp -a /tmp/all/usr/src usr/ && cp -a /tmp/all/usr/lib/linux-kbuild-* usr/lib/; fi
cp -L /etc/os-release etc/os-release
echo "$kernel" >release
