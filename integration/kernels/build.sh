# shellcheck shell=bash
# Prepares trees that hold what the lists name and nothing else, and compiles a
# module against each. Set by whoever runs this: $source is the folder with
# x86_64/ and aarch64/, and the defconfigs beside them.

mkdir module
cat >module/hello.c <<'C'
#include <linux/module.h>
#include <linux/pci.h>
#include <linux/version.h>

static int __init hello(void) { return LINUX_VERSION_CODE == 0; }
static void __exit bye(void) { }
module_init(hello);
module_exit(bye);
MODULE_DESCRIPTION("test");
MODULE_LICENSE("GPL");
C
echo 'obj-m := hello.o' >module/Makefile

# build NAME ARCH TREE [OPTION...]
build() {
    local name=$1 arch=$2 tree=$3
    shift 3
    local make=(make -C "$tree" "O=/out/$name" "ARCH=$arch" LOCALVERSION= -j"$(nproc)")
    if [ "$arch" = arm64 ]; then make+=(CROSS_COMPILE=aarch64-linux-gnu-); fi
    mkdir "$name"
    cp "$tree.defconfig" "$name/.config"
    "$tree/scripts/config" --file "$name/.config" "$@"
    "${make[@]}" olddefconfig modules_prepare >"$name.log" 2>&1 || return
    touch "$name/Module.symvers"
    rm -f module/*.o module/*.ko
    "${make[@]}" M=/out/module KBUILD_MODPOST_WARN=1 modules >>"$name.log" 2>&1 || return
    mv module/hello.ko "$name.ko"
    # What the config asked for was there, and not turned off in silence.
    cp "$name/.config" "$name.config"
    rm -r "$name"
}

everything=(
    -e MODULES -e MODULE_UNLOAD -e MODVERSIONS
    -e MODULE_SIG -e MODULE_SIG_ALL -e MODULE_SIG_SHA256
    -e DEBUG_INFO -d DEBUG_INFO_NONE -e DEBUG_INFO_DWARF4 -d DEBUG_INFO_REDUCED -e BPF_SYSCALL -e DEBUG_INFO_BTF
    -d UNWINDER_ORC -e UNWINDER_FRAME_POINTER -e STACK_VALIDATION # the defconfig has ORC
    -e FUNCTION_TRACER -e DYNAMIC_FTRACE -e LIVEPATCH
    -e SECURITY -e SECURITY_NETWORK -e AUDIT -e SECURITY_SELINUX
)
# shellcheck disable=SC2154
build defconfig x86_64 "$source/x86_64" &&
    build everything x86_64 "$source/x86_64" "${everything[@]}" &&
    build arm64 arm64 "$source/aarch64" || exit 0 # the test reads the logs
