#!/usr/bin/env bash
# usage: run.sh [OUT]
# On a machine with an NVIDIA GPU: holds every quantity against the reference on the GPU, trains presets on it,
# and times the program beside PyTorch where python3 has it. Results go to OUT (default: results, beside this file).
# CASES=10000, STEPS=200 and BENCH='' (what to time; everything) say how much; ONLY='verify train-digits' does only the steps whose names begin so, for a GPU
# that is lent by the minute; DEVICE=cuda:0 says where. Without a GPU the program says so and computes on the CPU. With SADM_DATA_DIR, the presets mnist and cifar10 are trained too where their files are there.
set -uo pipefail

here=$(realpath "$(dirname "$(readlink -f "$0")")")
out=${1:-$here/results}
mkdir -p "$out"
out=$(realpath "$out")
read -ra bench <<<"${BENCH:-}"
cases=${CASES:-10000} steps=${STEPS:-200} device=${DEVICE:-cuda:0}

# CUDA's libraries: the toolkit's, or those that came with PyTorch.
folders=$here/lib
for folder in "${CUDA_HOME:-/usr/local/cuda}/lib64" /usr/local/nvidia/lib64 \
    $(python3 -c 'import glob, site
for place in site.getsitepackages() + [site.getusersitepackages()]:
    print(*glob.glob(place + "/nvidia/*/lib"))' 2>/dev/null); do
    [[ -d $folder ]] && folders+=:$folder
done
export LD_LIBRARY_PATH=$folders${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}

failed=()
step() { # name, command...
    local name=$1 chosen=${ONLY:+no}
    for beginning in ${ONLY:-}; do
        [[ $name == "$beginning"* ]] && chosen=yes
    done
    [[ $chosen == no ]] && return
    shift
    echo "== $name: $*"
    nvidia-smi --query-gpu=memory.used --format=csv,noheader,nounits --loop-ms=200 >"$out/memory" 2>/dev/null &
    local watch=$!
    { echo "\$ $*"; date -u +%FT%TZ; time "$@"; } >"$out/$name.log" 2>&1 || failed+=("$name")
    kill "$watch" 2>/dev/null
    wait "$watch" 2>/dev/null
    sort -n "$out/memory" | tail -n 1 | sed 's/$/ MiB of the GPU were in use at most (looked at every 0.2 s)/' >>"$out/$name.log"
    tail -n 7 "$out/$name.log"
}

cat "$here/BUILD" | tee "$out/machine.log"
{ lscpu | grep 'Model name'; nvidia-smi; } >>"$out/machine.log" 2>&1
for dtype in f32 tf32 bf16; do
    step "verify-$dtype" "$here/bin/sadm" verify --device "$device" --dtype "$dtype" --cases "$cases" \
        --report "$out/verify-$dtype.json"
done
# Candle's operations in place of our kernels: right as well, and how fast?
step verify-f32-composed env SADM_KERNELS=off "$here/bin/sadm" verify --device "$device" --cases "$cases"
presets=(digits digits-dit)
for preset in mnist cifar10; do
    [[ -d ${SADM_DATA_DIR:-}/$preset ]] && presets+=("$preset")
done
for preset in "${presets[@]}"; do
    for compute in f32 bf16; do
        step "train-$preset-$compute" "$here/bin/sadm" train --preset "$preset" --device "$device" \
            --out "$out/runs/$preset-$compute" --set train.steps="$steps" --set train.compute="$compute"
    done
done
# Beside PyTorch, on the GPU and on the CPUs of this machine.
python=$(python3 -c 'import sys, torch; print(sys.executable)' 2>/dev/null)
step side-by-side-gpu "$here/bin/bench-side_by_side" --bench --device "$device" ${python:+--python "$python" --compile} "${bench[@]}"
step side-by-side-gpu-composed env SADM_KERNELS=off "$here/bin/bench-side_by_side" --bench --device "$device" "${bench[@]}"
step side-by-side "$here/bin/bench-side_by_side" --bench ${python:+--python "$python"} "${bench[@]}"
step growth "$here/bin/bench-growth" --bench

if ((${#failed[@]})); then
    echo "failed: ${failed[*]} (see $out)"
    exit 1
fi
echo "all done: $out"
