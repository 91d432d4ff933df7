#!/bin/bash
#
# On a machine with an NVIDIA GPU and its driver: compiles the example with nvcc
# and runs the tests of integration/gpu. `make test-gpu` calls it. It loads and
# unloads nothing. A machine without Go needs .builder/bin as `make gpu-binaries`
# leaves it on one with Go.

set -euo pipefail

cd "$(dirname "$0")/.."
bin=$PWD/.builder/bin

die() {
    printf 'test-gpu: %s\n' "$*" >&2
    exit 1
}

[ -r /proc/driver/nvidia/version ] || die "no NVIDIA driver is loaded here."
for program in builder gpu.test; do
    [ -x "$bin/$program" ] || die "there is no $bin/$program, and no Go to build it: run 'make gpu-binaries' on a machine with Go, and copy .builder/bin."
done
PATH=$PATH:${CUDA_HOME:-/usr/local/cuda}/bin
command -v nvcc >/dev/null || die "nvcc, of the CUDA toolkit, is needed: set CUDA_HOME to where it is."

head -n 1 /proc/driver/nvidia/version
nvcc --version | grep release
# As in example/Dockerfile.
nvcc -O2 -arch=all-major -cudart=static -o "$bin/vectoradd" example/vectoradd.cu

export CUDA_TEST_BUILDER=$bin/builder CUDA_TEST_EXAMPLE=$bin/vectoradd CUDA_TEST_ENTRYPOINT=$PWD/example/entrypoint
exec "$bin/gpu.test" -test.v -test.count 1
