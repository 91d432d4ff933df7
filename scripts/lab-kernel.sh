#!/usr/bin/env bash
# Tries a kernel of 4.9 to 5.4, whose source no package has any more, on a tree of yours.
set -euo pipefail

usage() {
    cat <<'TEXT'
usage: scripts/lab-kernel.sh DIR [CONFIG]

DIR is the source of a kernel, such as coreos/linux at v4.19.78-coreos or kernel.org's.
CONFIG is the whole config of the kernel to build of it, such as CoreOS's own (in
coreos-overlay, sys-kernel/coreos-modules/files); without it the kernel is a small one.

It serves DIR as coreos/linux, builds the kernel, boots it in QEMU, has builder record it,
builds the drivers for it in the image cuda:bullseye, has the kernel load them, and asks the
gate and the kernel about broken modules. That takes half an hour and more.

  CUDA_LAB_DRIVERS  folders of driver packages, NVIDIA-Linux-x86_64-VERSION, with colons
                    between (default: the driver that the tests have)
TEXT
}

case ${1:-} in
-h | --help)
    usage
    exit 0
    ;;
'')
    usage >&2
    exit 2
    ;;
esac
if [ ! -e "$1/arch/x86/Makefile" ]; then
    echo "$1 is no source of a kernel for x86_64: it has no arch/x86/Makefile" >&2
    exit 2
fi
CUDA_LAB_TREE=$(cd "$1" && pwd)
CUDA_LAB_CONFIG=
if [ -n "${2:-}" ]; then CUDA_LAB_CONFIG=$(cd "$(dirname "$2")" && pwd)/$(basename "$2"); fi
CUDA_LAB_DRIVERS=${CUDA_LAB_DRIVERS:-}
export CUDA_LAB_TREE CUDA_LAB_CONFIG CUDA_LAB_DRIVERS
cd "$(dirname "$0")/.."
go test -tags integration -count 1 -timeout 4h -v -run '^TestTree$' ./integration
# The broken modules are made of nvidia-peermem, which older drivers do not have.
asked=
IFS=:
for driver in $CUDA_LAB_DRIVERS; do
    if [ -e "$driver/kernel/nvidia-peermem" ]; then asked=$driver; fi
done
go run ./integration/agreement -tree "$CUDA_LAB_TREE" -config "$CUDA_LAB_CONFIG" -driver "$asked"
