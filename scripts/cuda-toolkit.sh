#!/usr/bin/env bash
# usage: cuda-toolkit.sh PREFIX
# A CUDA 13.0 toolkit that compiles and links (no card, no root, about 1 GB): the compiler from NVIDIA's wheels
# on PyPI, and stub libraries for the linker. At run time the machine's own libraries are found. Quick when done.
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

# What the linker wants to see of the driver and the numeric libraries: the names that cudarc declares.
cargo fetch --quiet
cudarc=$(cargo metadata --format-version 1 --features cuda |
    "$python" -c 'import json, os, sys
print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "cudarc"))')

stub() { # library, soname, module of cudarc, prefix of its functions
    local names
    names=$(grep -ohE "fn $4[A-Za-z0-9_]+" "$cudarc/src/$3/sys/mod.rs" | cut -d' ' -f2 | sort -u)
    [[ -n $names ]] || { echo "cuda-toolkit: cudarc declares no function $4* in $3" >&2; exit 1; }
    # 100 is CUDA_ERROR_NO_DEVICE: a program that runs on a stub learns that there is no card.
    for name in $names; do echo "int $name(void) { return 100; }"; done |
        cc -x c -shared -fPIC -w -Wl,-soname,"$2" -o "$prefix/lib/stubs/$2" -
    ln -sfn "$2" "$prefix/lib/stubs/lib$1.so"
}
stub cuda libcuda.so.1 driver cu
stub cublas libcublas.so.13 cublas cublas
stub cublasLt libcublasLt.so.13 cublaslt cublasLt
stub curand libcurand.so.10 curand curand
stub nvrtc libnvrtc.so.13 nvrtc nvrtc
stub cudnn libcudnn.so.9 cudnn cudnn
stub nccl libnccl.so.2 nccl nccl

# Last of all, since it says that the rest is there.
cat >"$prefix/env.sh" <<END
export CUDA_HOME=$prefix CUDA_PATH=$prefix CUDA_ROOT=$prefix CUDA_COMPUTE_CAP=\${CUDA_COMPUTE_CAP:-90} NVCC=$prefix/bin/nvcc
export PATH=$prefix/bin:\$PATH
END
