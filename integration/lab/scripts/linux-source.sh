# shellcheck shell=bash
# Leaves the source that a Debian package of a kernel's has, compressed in a way
# that is quick to read. $package is set by whoever runs this.

apt-get update -qq
# shellcheck disable=SC2154
apt-get download -qq "$package"
dpkg-deb --fsys-tarfile "$package"_*.deb |
    tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
    xz --decompress |
    zstd --quiet -1 -o linux.tar.zst
rm "$package"_*.deb
