#!/bin/bash
#
# Builds the image cuda-example (or $IMAGE) with the newest toolkit in ./cuda of
# the share, which is this checkout. Arguments are for docker build.

set -euo pipefail

cd "$(dirname "$0")/.."

toolkit=$(printf '%s\n' cuda/toolkit-*/ | sort -t - -k 2 -V | tail -n 1)
toolkit=${toolkit%/}
if [ ! -x "$toolkit/builds/cuda_nvcc/bin/nvcc" ]; then
    echo "build.sh: there is no toolkit with an nvcc in $PWD/cuda. run.sh puts one there; by hand: sh CUDA.run --keep --noexec --nox11, and name the folder that it makes cuda/toolkit-VERSION" >&2
    exit 1
fi

# The parts that compile and link; which there are depends on the version.
trees=()
for part in cuda_nvcc cuda_crt libnvvm cuda_cudart; do
    if [ -d "$toolkit/builds/$part" ]; then trees+=(-C "$PWD/$toolkit/builds/$part" .); fi
done
echo "==> compiling with the toolkit in $toolkit"
tar -c "${trees[@]}" -C "$PWD" example | docker build --tag "${IMAGE:-cuda-example}" --file example/Dockerfile "$@" -
