#!/usr/bin/env bash
# Builds the library and the examples with kernels for GPUs, without warnings: nothing of CUDA is
# needed to start them, and where there is no GPU they say so. Skipped where there is no nvcc.
# Only nvcc optimises, for time's sake.
set -euo pipefail
cd -- "$(dirname -- "${BASH_SOURCE[0]}")/.."

nvcc=$(command -v nvcc || echo /usr/local/cuda/bin/nvcc)
if [[ ! -x $nvcc ]]; then
    echo "there is no nvcc"
    exit 77
fi
scratch=$(mktemp -d)
trap 'rm -rf -- "$scratch"' EXIT
fail() {
    printf '%s\n' "$*" >&2
    exit 1
}

build=$scratch/build
meson setup "$build" -Dcuda=enabled -Dgpu_architectures=sm_90 -Dwerror=true -Db_pch=false \
    -Doptimization=0 -Dtests=false -Dbench=false >"$scratch/log" || fail "$(<"$scratch/log")"
ninja -C "$build" >"$scratch/log" 2>&1 || fail "$(<"$scratch/log")"

library=$build/src/libgradgraph.so
! ldd "$library" | grep -iE 'cuda|cublas|nvrtc' || fail "$library needs a library of CUDA"
strip -o "$scratch/stripped" "$library"
bytes=$(stat -c %s "$scratch/stripped")
((bytes < 40000000)) || fail "the stripped library has $bytes bytes"

# Generated kernels are what the oldest GPUs and newer ones take. Who writes them needs few of the
# library's parts, and no other libraries for the rest.
c++ -std=c++20 -Iinclude -Isrc tests/cuda/write_programs.cpp "$build/src/libgradgraph.a" \
    -L"$(dirname -- "$(readlink -f -- "$nvcc")")/../lib64" -lcudart_static -lfmt -lpthread -ldl \
    -lrt \
    -Wl,--unresolved-symbols=ignore-all -o "$scratch/write_programs" >"$scratch/log" 2>&1 ||
    fail "$(<"$scratch/log")"
"$scratch/write_programs" "$scratch" || fail "a step of generated kernels is missing"
for program in "$scratch"/program*.ptx; do
    for architecture in sm_80 sm_90; do
        "$(dirname -- "$(readlink -f -- "$nvcc")")/ptxas" -arch=$architecture "$program" \
            -o "$scratch/program" >"$scratch/log" 2>&1 || fail "$program: $(<"$scratch/log")"
    done
done

[[ ! -e /dev/nvidiactl ]] || exit 0
# Ten black images of the digit 0, to train and to validate.
for part in train t10k; do
    {
        printf '\0\0\x08\x03\0\0\0\x0a\0\0\0\x1c\0\0\0\x1c'
        head -c 7840 /dev/zero
    } | gzip >"$scratch/$part-images-idx3-ubyte.gz"
    {
        printf '\0\0\x08\x01\0\0\0\x0a'
        head -c 10 /dev/zero
    } | gzip >"$scratch/$part-labels-idx1-ubyte.gz"
done
status=0
"$build/graph_examples/mnist_mlp" --data "$scratch" --device cuda >"$scratch/log" 2>&1 ||
    status=$?
((status != 0)) || fail "mnist_mlp --device cuda runs without a GPU"
grep -q "there is no device 'cuda'; this machine has: cpu; there is no NVIDIA driver" \
    "$scratch/log" || fail "$(<"$scratch/log")"
