# shellcheck shell=bash
# Lays out the root of a host that runs Debian's own kernel: image, modules,
# and the headers that modules are built against, which are split.
# $kernel is the kernel's release; empty is this Debian's newest

apt-get update -qq
DEBIAN_FRONTEND=noninteractive apt-get install --yes -qq --no-install-recommends kmod >/dev/null 2>&1
depends() { apt-cache depends --no-recommends --no-suggests "$1" | awk '$1 == "Depends:" { print $2 }'; }
if [ -z "$kernel" ]; then kernel=$(depends linux-image-amd64 | sed -n 's/^linux-image-//p'); fi

mkdir /tmp/packages
cd /tmp/packages || exit
mapfile -t headers < <(depends "linux-headers-$kernel" | grep -E '^linux-(headers|kbuild)-')
apt-get download -qq "linux-image-$kernel" "linux-headers-$kernel" "${headers[@]}"
for package in *.deb; do dpkg-deb --extract "$package" /out; done

cd /out || exit
rm -rf usr/share
if [ ! -e lib ]; then ln -s usr/lib lib; fi # as every Debian has it whose packages are merged
depmod --basedir . "$kernel"
mkdir -p etc
cp -L /etc/os-release etc/os-release
echo "$kernel" >release
