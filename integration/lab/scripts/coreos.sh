# shellcheck shell=bash
# Builds a small kernel as CoreOS built its own: modules signed by the key of
# the build, the config inside, no symbol versions.
# $compiler to build it with; coreos-tree.sh comes before this

# libbpf of this kernel's time, which resolves its type information, is not written for
# C libraries in which strchr() keeps const.
# shellcheck disable=SC2154 # set by who runs this
build() { make -s -j"$(nproc)" CC="$compiler" HOSTCC="gcc -Wno-discarded-qualifiers" LOCALVERSION= "$@"; }
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
