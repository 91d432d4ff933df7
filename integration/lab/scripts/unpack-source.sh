# shellcheck shell=bash
# Leaves the source that a Debian package of a kernel's has, compressed in a way
# that is quick to read.

dpkg-deb --fsys-tarfile linux-source-*.deb |
    tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
    xz --decompress |
    zstd --quiet -1 -o linux.tar.zst
rm linux-source-*.deb
