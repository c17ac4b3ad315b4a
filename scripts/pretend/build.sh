#!/usr/bin/env bash
# usage: build.sh TOOLKIT FOLDER
# The libraries of a pretended GPU (gpu.cpp) in FOLDER, under the names that CUDA's have at run time; with candle's kernels, as cargo
# fetched them, and our own, compiled for the CPU. TOOLKIT is what cuda-toolkit.sh made: its headers know half precision.
set -euo pipefail

toolkit=${1:?usage: build.sh TOOLKIT FOLDER}/include
folder=${2:?usage: build.sh TOOLKIT FOLDER}
here=$(realpath "$(dirname "$(readlink -f "$0")")")
mkdir -p "$folder"
folder=$(realpath "$folder")

cargo fetch --quiet
kernels=$(cargo metadata --format-version 1 --features cudnn |
    python3 -c 'import json, os, sys
print(next(os.path.dirname(p["manifest_path"]) for p in json.load(sys.stdin)["packages"] if p["name"] == "candle-kernels"))')/src
# Kernels read numbers of one type as those of another.
compile=(g++ -std=c++17 -O2 -fPIC -fno-strict-aliasing -w -I"$here" -I"$toolkit" -I"$toolkit/cccl")

# Of the kernel file FOLDER/NAME.cu: the kernels, and a table of what it calls `extern "C" __global__`.
kernel() {
    local file=$folder/$2.cpp
    printf '#include "device.h"\n#include "%s/%s.cu"\n' "$1" "$2" >"$file"
    names=$("${compile[@]}" -I"$1" -E -P "$file" | tr '\n' ' ' |
        grep -oE 'extern "C" +void +[A-Za-z0-9_]+ *\(' | sed -E 's/.* ([A-Za-z0-9_]+) *\($/\1/' | sort -u)
    {
        echo 'static const bool added = [] {'
        for name in $names; do
            echo "    pretend::add(\"$name\", [](void **arguments) { pretend::apply($name, arguments); });"
        done
        echo '    return true;'
        echo '}();'
    } >>"$file"
    "${compile[@]}" -I"$1" -c -o "$folder/$2.o" "$file"
}
# Sorting wants dynamic shared memory, and training sorts nothing.
for name in affine binary cast conv fill indexing reduce ternary unary; do
    kernel "$kernels" "$name"
done
for file in "$here"/../../gpu/kernels/*.cu; do
    kernel "$(dirname "$(realpath "$file")")" "$(basename "$file" .cu)"
done
"${compile[@]}" -Wall -Wextra -c -o "$folder/gpu.o" "$here/gpu.cpp"
# The same helpers are in each kernel file.
g++ -shared -Wl,--allow-multiple-definition -o "$folder/libpretended.so" "$folder"/*.o
for name in libcuda.so.1 libcublas.so.13 libcublasLt.so.13 libcurand.so.10 libnvrtc.so.13 libcudnn.so.9; do
    ln -sf libpretended.so "$folder/$name"
done
