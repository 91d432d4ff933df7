# shellcheck shell=bash
# Lays out the root of a Flatcar host with the tree that its ebuilds leave for building
# modules: coreos-modules installs it, and coreos-kernel names the firmware in the
# config only after that.
# /linux.tar.zst is a kernel's source, /flatcar.config what its config is made of, and
# /debian the root of a host of the same line, by whose kernel the symbols are

# Of the rest of the tree, only what says how to configure it. Not in the container: many
# small files are slow there.
mkdir /out/work
of=linux-source-6.12
tar --extract --zstd --file /linux.tar.zst --directory /out/work --strip-components=1 --one-top-level=linux \
    --exclude='*/Documentation/*/*' --exclude="$of/tools/testing" --exclude="$of/tools/perf" \
    --exclude='*.dts' --exclude='*.dtsi' --exclude="$of/arch/[!x]*/*.[chS]" --exclude="$of/drivers/*.[ch]" \
    --exclude="$of/fs/*.[ch]" --exclude="$of/net/*.[ch]" --exclude="$of/sound/*.[ch]" --exclude="$of/samples/*.[ch]"
cd /out/work/linux || exit
sed -i 's/^EXTRAVERSION =.*/EXTRAVERSION = -flatcar/' Makefile

kmake() {
    make -s -j"$(nproc)" ARCH=x86 CROSS_COMPILE=x86_64-cros-linux-gnu- \
        KBUILD_OUTPUT=/out/work/build KCFLAGS=-Werror=misleading-indentation LDFLAGS= "$@"
}
mkdir /out/work/build
cp /flatcar.config /out/work/build/.config
echo 'CONFIG_INITRAMFS_SOURCE="bootengine.cpio"' >>/out/work/build/.config
kmake olddefconfig
# An option that Kconfig drops is an error here, as it is to the ebuild.
missing=$(sed -n 's/=[ym]$//p' /flatcar.config | while read -r option; do
    grep -q "^$option=" /out/work/build/.config || echo "$option"
done)
if [ -n "$missing" ]; then
    echo "this kernel cannot have: $missing" >&2
    exit 1
fi
kmake modules_prepare
release=$(kmake kernelrelease)
# Without MODVERSIONS there are no checksums.
debian=$(cat /debian/release)
sed 's/^0x[0-9a-f]*/0x00000000/' "/debian/usr/src/linux-headers-$debian/Module.symvers" >/out/work/build/Module.symvers

modules=/out/usr/lib/modules/$release
mkdir -p "$modules" /out/usr/{boot,lib64,share/flatcar} /out/etc/flatcar /out/proc/sys/kernel
kmake run-command KBUILD_RUN_COMMAND="/out/work/linux/scripts/package/install-extmod-build $modules/build"
cp /out/work/build/.config "$modules/build/.config"
ln -s build "$modules/source"
ln -s "../lib/modules/$release/build/.config" "/out/usr/boot/config-$release"
ln -s "../lib/modules/$release/build/.config" /out/usr/boot/config

# The kernel's own config, from after that. The list ends with a blank.
sed -i -e '/^CONFIG_EXTRA_FIRMWARE=/d' -e '/^CONFIG_EXTRA_FIRMWARE_DIR=/d' /out/work/build/.config
cat >>/out/work/build/.config <<'CONFIG'
CONFIG_EXTRA_FIRMWARE="intel-ucode/06-55-04 intel-ucode/06-8f-08 amd-ucode/microcode_amd_fam19h.bin "
CONFIG_EXTRA_FIRMWARE_DIR="/build/amd64-usr/lib/firmware"
CONFIG
kmake olddefconfig
gzip -9 --stdout --no-name /out/work/build/.config >/out/proc/config.gz

# The programs of the tree are linked to the host's libraries.
{ find "$modules/build" -type f -perm -u+x -exec ldd {} + 2>/dev/null || true; } | # some are scripts
    sed -nE 's/.* => (\/[^ ]+) .*/\1/p; s/^\t(\/[^ ]*ld-linux[^ ]*) .*/\1/p' | sort -u |
    while read -r library; do cp -L "$library" /out/usr/lib64/; done
ln -s usr/lib /out/lib
ln -s usr/lib64 /out/lib64

compiler=$(x86_64-cros-linux-gnu-gcc --version | head -n 1)
linker=$(x86_64-cros-linux-gnu-ld --version | head -n 1)
echo "Linux version $release (build@lab) ($compiler, $linker) #1 SMP PREEMPT_DYNAMIC Tue Aug 18 21:04:11 -00 2026" >/out/proc/version
echo "$release" >/out/proc/sys/kernel/osrelease
cp /debian/proc/{cmdline,kallsyms,modules} /out/proc/

# What nvidia.service leaves once it has built a driver of its own.
driver=535.309.01
current=/out/opt/nvidia/$driver/$release
mkdir -p "$current"/usr/lib/{extension-release.d,"modules/$release/video"} "$current/usr/lib64" \
    /out/opt/nvidia/workdir/nvidia-workdir /out/opt/bin /out/etc/ld.so.conf.d
printf 'ID=flatcar\nSYSEXT_LEVEL=1.0\n' >"$current/usr/lib/extension-release.d/extension-release.nvidia-driver"
ln -s "$driver/$release" /out/opt/nvidia/current
echo /opt/nvidia/current/usr/lib64 >/out/etc/ld.so.conf.d/nvidia.conf
echo "$release" >/out/release
rm -r /out/work
