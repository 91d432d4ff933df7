# shellcheck shell=bash
# Builds the kernel of a tree that somebody has, as CoreOS built its own, out of the tree.
# /tree is the source, /config a whole .config or a fragment on top of allnoconfig ($whole
# says which), $compiler what builds it, $tag the release as a tag has it, without the v

# shellcheck disable=SC2154 # set by who runs this
make=(make -s -C /tree "O=/tmp/build" ARCH=x86_64 "CC=$compiler" "HOSTCC=$compiler" LOCALVERSION= "-j$(nproc)")
mkdir /tmp/build
if [ "$whole" = yes ]; then
    # The key of CoreOS's build is gone; every build makes one.
    sed 's|^CONFIG_MODULE_SIG_KEY=.*|CONFIG_MODULE_SIG_KEY="certs/signing_key.pem"|' /config >/tmp/build/.config
    "${make[@]}" olddefconfig
else
    # What this line does not know yet is dropped by Kconfig.
    "${make[@]}" KCONFIG_ALLCONFIG=/config allnoconfig
fi
release=$("${make[@]}" kernelrelease)
if [ "$release" != "$tag" ]; then
    echo "the kernel would call itself $release and the tag is $tag" >&2
    exit 1
fi
# SELinux's own programs do not take this system's C library: those of the kernel's time
# did, and a kernel's image needs them.
if [ -e /tmp/build/scripts/selinux ]; then echo "SELinux" >&2; fi
"${make[@]}" bzImage
mkdir -p "/out/lib/modules/$release" /out/boot
if [ "$whole" = yes ]; then
    # Of the thousands of modules, those that drivers import from.
    for folder in drivers/i2c drivers/char/ipmi drivers/acpi drivers/video; do
        "${make[@]}" "M=$folder" KBUILD_MODPOST_WARN=1 modules || "${make[@]}" "M=/tree/$folder" KBUILD_MODPOST_WARN=1 modules || true
    done
    (cd /tmp/build && find . -name '*.ko' -exec cp --parents '{}' "/out/lib/modules/$release/" ';')
    : >"/out/lib/modules/$release/modules.builtin"
    : >"/out/lib/modules/$release/modules.order"
else
    "${make[@]}" modules
    "${make[@]}" INSTALL_MOD_PATH=/out INSTALL_MOD_STRIP=1 modules_install
fi
depmod --basedir /out "$release"
rm -f "/out/lib/modules/$release/build" "/out/lib/modules/$release/source"
cp /tmp/build/arch/x86/boot/bzImage "/out/boot/vmlinuz-$release"
if [ -e /tmp/build/certs/signing_key.pem ]; then cp /tmp/build/certs/signing_key.pem /out/; fi
echo "$release" >/out/release
