# shellcheck shell=bash
# The script that everybody wrote before: clone, configure, prepare, install.
# $URL $TAG $COMPILER $RELEASE, the unpacked package at /driver, and, which no
# checkout has, the host's Module.symvers as builder makes it at /Module.symvers:
# without it the driver is refused, or does not compile.

# The machine's compiler is the kernel's.
ln -sf "$COMPILER" /usr/bin/gcc
git clone --quiet --depth 1 --branch "$TAG" "$URL" /opt/share/linux
cd /opt/share/linux || exit
zcat /host/proc/config.gz >.config
build() { make -s -j"$(nproc)" LOCALVERSION= "$@"; }
build olddefconfig
build modules_prepare
cp /Module.symvers .

# The installer insists on a driver of its version, and compiles in its folder.
cp -a /driver /opt/share/driver
mkdir -p /var/lib/nvidia
head -n 2 /driver/.manifest | tac >/var/lib/nvidia/log
/opt/share/driver/nvidia-installer --silent --accept-license --kernel-module-only \
    --kernel-name="$RELEASE" --kernel-source-path=/opt/share/linux \
    --kernel-install-path=/opt/share/installed --log-file-name=/opt/share/nvidia-installer.log || {
    grep --max-count=5 --after-context=5 'rror: ' /opt/share/nvidia-installer.log >&2
    exit 1
}
ls /opt/share/installed/nvidia.ko /opt/share/installed/nvidia-{uvm,modeset,drm,peermem}.ko
