#!/usr/bin/env bash
# usage: cuda-toolkit.sh PREFIX
# A CUDA 13.0 toolkit that compiles and links (no GPU, no root, about 1 GB): the compiler from NVIDIA's wheels
# on PyPI, and for the linker archives that find the machine's own libraries at run time. Quick when done.
set -euo pipefail

prefix=$(realpath -m "${1:?usage: cuda-toolkit.sh PREFIX}")
scripts=$(dirname "$(readlink -f "$0")")
python=${PYTHON:-python3}
wheels=(
    nvidia-cuda-nvcc==13.0.88 nvidia-nvvm==13.0.88 nvidia-cuda-crt==13.0.88
    nvidia-cuda-runtime==13.0.96 nvidia-cuda-cccl==13.0.85
)
[[ -f $prefix/env.sh ]] && exit

if ! "$python" -m pip --version >/dev/null 2>&1; then
    echo "cuda-toolkit: python3 with pip is missing; on Debian: apt-get install python3-pip" >&2
    exit 1
fi
mkdir -p "$prefix/lib/stubs"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

"$python" -m pip download --quiet --no-deps --only-binary=:all: --dest "$work" "${wheels[@]}"
for wheel in "$work"/*.whl; do
    "$python" -m zipfile -e "$wheel" "$work/unpacked"
done
cp -a "$work/unpacked/nvidia/cu13/." "$prefix/"
cp "$scripts/nvcc-lite" "$prefix/bin/"
# Wheels do not keep the permission to execute.
find "$prefix/bin" "$prefix/nvvm/bin" -type f -exec chmod +x {} +
ln -sfn lib "$prefix/lib64"
ln -sfn libcudart.so.13 "$prefix/lib/libcudart.so"

# For the linker: each library as an archive that looks the real one up at its first call (cuda-lazy.c), with the
# functions that cudarc declares.
cargo fetch --quiet
cudarc=$(cargo metadata --format-version 1 --features cudnn |
    "$python" -c 'import json, os, sys
print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')

# library, soname, module of cudarc, prefix of its functions, the error that says that it is missing, what is done without
lazy() {
    grep -ohE "fn $4[A-Za-z0-9_]+" "$cudarc/src/$3/sys/mod.rs" | cut -d' ' -f2 | sort -u |
        awk '{ print "ENTRY(" NR - 1 ", " $1 ")" }' >"$work/$1.h"
    [[ -s $work/$1.h ]] || { echo "cuda-toolkit: cudarc declares no function $4* in $3" >&2; exit 1; }
    cc -O1 -fPIC -fno-toplevel-reorder -Wall -Wextra -Werror -c -o "$work/$1.o" "$scripts/cuda-lazy.c" \
        -DSONAME="\"$2\"" -DMISSING="$5" -DWITHOUT="\"${6:-}\"" -D"NAME(x)=lazy_$1_##x" -DLIST="\"$work/$1.h\""
    rm -f "$prefix/lib/stubs/lib$1".*
    ar rcs "$prefix/lib/stubs/lib$1.a" "$work/$1.o"
}
lazy cuda libcuda.so.1 driver cu 100         # CUDA_ERROR_NO_DEVICE
lazy cublas libcublas.so.13 cublas cublas 1  # ..._NOT_INITIALIZED, as in the next three
lazy cublasLt libcublasLt.so.13 cublaslt cublasLt 1
lazy curand libcurand.so.10 curand curand 101
lazy cudnn libcudnn.so.9 cudnn cudnn 1001 "; convolutions do without"
lazy nvrtc libnvrtc.so.13 nvrtc nvrtc 7      # NVRTC_ERROR_BUILTIN_OPERATION_FAILURE

# Last of all, since it says that the rest is there.
cat >"$prefix/env.sh" <<END
export CUDA_HOME=$prefix CUDA_PATH=$prefix CUDA_ROOT=$prefix CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90} NVCC=$prefix/bin/nvcc
export PATH=$prefix/bin:\$PATH
END
