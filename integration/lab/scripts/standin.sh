# shellcheck shell=bash
# Builds the stand-ins for NVIDIA's modules for the small kernel, and signs
# none of them: whoever needs a signature makes it.
# $compiler the kernel was built with, $versions to build; coreos-tree.sh comes before this

# As for the kernel itself, see coreos.sh.
# shellcheck disable=SC2154 # set by who runs this
build() { make -s -j"$(nproc)" CC="$compiler" HOSTCC="gcc -Wno-discarded-qualifiers" LOCALVERSION= "$@"; }
build KCONFIG_ALLCONFIG=/coreos.config allnoconfig
build modules_prepare
# shellcheck disable=SC2154
for version in $versions; do
    mkdir -p "/tmp/$version" "/out/$version"
    cp /standin/* "/tmp/$version/"
    # The kernel's exports are not known here: it will find them.
    touch Module.symvers
    build M="/tmp/$version" STANDIN_VERSION="$version" KBUILD_MODPOST_WARN=1 modules 2>/dev/null
    cp "/tmp/$version"/*.ko "/out/$version/"
    strip --strip-debug "/out/$version"/*.ko
done
