# shellcheck shell=bash
# Builds a kernel of the tree at /tree, as CoreOS built its own.
# /config is a whole config or a fragment on top of allnoconfig, as $whole says ("yes",
# "no"); $compiler builds it, and it has to call itself $release

mkdir /tmp/build /tmp/tree
# The tree is somebody's, and is not written to.
cp --recursive --symbolic-link /tree/. /tmp/tree/
# SELinux's programs of before 5.1 compare the C library's address families with those that
# they know. A kernel's image is made with them.
classmap=/tmp/tree/security/selinux/include/classmap.h
if grep -q '^#if PF_MAX >' "$classmap"; then
    sed '/^#if PF_MAX >/,/^#endif/d' "/tree/security/selinux/include/classmap.h" >/tmp/classmap.h
    mv /tmp/classmap.h "$classmap"
fi
# Compilers of after 4.9's time take ilog2()'s trap for what is not constant (kernel commit
# 474c90156c8d, in stable releases of 4.9).
log2=/tmp/tree/include/linux/log2.h
if grep -q '^int ____ilog2_NaN(void);' "$log2"; then
    sed 's/^int ____ilog2_NaN(void);/&\n#define ____ilog2_NaN() 0/' /tree/include/linux/log2.h >/tmp/log2.h
    mv /tmp/log2.h "$log2"
fi
# shellcheck disable=SC2154 # set by who runs this
build() {
    make -s -C /tmp/tree O=/tmp/build ARCH=x86_64 CC="$compiler" HOSTCC="$compiler" LOCALVERSION= -j"$(nproc)" "$@"
}
# shellcheck disable=SC2154
if [ "$whole" = yes ]; then
    # The key of CoreOS's own build is gone: every build makes one.
    sed 's|^CONFIG_MODULE_SIG_KEY=.*|CONFIG_MODULE_SIG_KEY="certs/signing_key.pem"|' /config >/tmp/build/.config
    build olddefconfig
else
    # What this line does not know is left out.
    build KCONFIG_ALLCONFIG=/config allnoconfig
fi
calls=$(build kernelrelease)
# shellcheck disable=SC2154
if [ "$calls" != "$release" ]; then
    echo "the kernel would call itself $calls, and the tag says $release" >&2
    exit 1
fi
build bzImage
mkdir -p "lib/modules/$release" boot
if [ "$whole" = yes ]; then
    # Of thousands of modules, those that drivers import from.
    for folder in drivers/i2c drivers/char/ipmi drivers/acpi; do
        build "M=/tmp/tree/$folder" KBUILD_MODPOST_WARN=1 modules
        mkdir -p "lib/modules/$release/kernel/$folder"
        find "/tmp/tree/$folder" -name '*.ko' -exec mv '{}' "lib/modules/$release/kernel/$folder/" ';'
    done
    touch "lib/modules/$release/modules.builtin" "lib/modules/$release/modules.order"
else
    build modules
    build INSTALL_MOD_PATH=/out INSTALL_MOD_STRIP=1 modules_install
    rm -f "lib/modules/$release/build" "lib/modules/$release/source"
fi
depmod --basedir /out "$release"
cp /tmp/build/arch/x86/boot/bzImage "boot/vmlinuz-$release"
cp /tmp/build/certs/signing_key.pem .
echo "$release" >release
