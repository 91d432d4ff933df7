# shellcheck shell=bash
# Builds a small kernel as CoreOS built its own: modules signed by the key of
# the build, the config inside, no symbol versions.
# $compiler to build it with

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
# shellcheck disable=SC2154 # set by who runs this
build() { make -s -j"$(nproc)" CC="$compiler" LOCALVERSION= "$@"; }
build KCONFIG_ALLCONFIG=/coreos.config allnoconfig
# An option that Kconfig drops is an error here, not a surprise later.
missing=$(grep '^CONFIG_' /coreos.config | grep -vxFf .config) || true
if [ -n "$missing" ]; then
    echo "this kernel cannot have: $missing" >&2
    exit 1
fi
build bzImage modules
release=$(make -s LOCALVERSION= kernelrelease)
build INSTALL_MOD_PATH=/out INSTALL_MOD_STRIP=1 modules_install
mkdir -p /out/boot
cp arch/x86/boot/bzImage "/out/boot/vmlinuz-$release"
cp certs/signing_key.pem certs/signing_key.x509 /out/
# The host has no tree to build against: that is what the job is for.
rm -f "/out/lib/modules/$release/build" "/out/lib/modules/$release/source"
echo "$release" >/out/release
