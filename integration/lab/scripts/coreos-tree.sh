# shellcheck shell=bash
# Unpacks the source of the small kernel to /tmp/linux, and goes there.

# Of the rest of the tree, only what says how to configure it.
dpkg-deb --fsys-tarfile /packages/source.deb |
    tar --extract --to-stdout --wildcards './usr/src/linux-source-*.tar.xz' |
    xz --decompress --threads=0 |
    tar --extract --directory /tmp --strip-components=1 --one-top-level=linux \
        --exclude='*/Documentation/*/*' --exclude='*/tools/testing' --exclude='*/tools/perf' \
        --exclude='linux-source-*/arch/[!x]*/*.[chS]' --exclude='*.dts' --exclude='*.dtsi' \
        --exclude='linux-source-*/drivers/gpu/drm/amd/*.[ch]' \
        --exclude='linux-source-*/drivers/net/*.[ch]' \
        --exclude='linux-source-*/drivers/media/*.[ch]' \
        --exclude='linux-source-*/drivers/staging/*.[ch]' \
        --exclude='linux-source-*/sound/*.[ch]'
cd /tmp/linux || exit
