#!/usr/bin/env bash
# usage: cuda-pretend.sh TOOLKIT TARGET
# Runs what `make cuda` built in TARGET on a pretended GPU (scripts/pretend): every quantity in every element type, with cuDNN and our
# kernels and without, a few steps of two presets in f32 and bf16, beside the same steps on the CPU. CASES=64 says how much.
set -euo pipefail

toolkit=${1:?usage: cuda-pretend.sh TOOLKIT TARGET}
target=$(realpath "${2:?usage: cuda-pretend.sh TOOLKIT TARGET}")
scripts=$(realpath "$(dirname "$(readlink -f "$0")")")
cases=${CASES:-64} sadm=$target/release/sadm
with=$target/pretended/with-cudnn without=$target/pretended/without-cudnn runs=$target/pretended/runs

command -v g++ >/dev/null || { echo "cuda-pretend: g++ is missing; on Debian: apt-get install g++" >&2; exit 1; }
[[ -x $sadm ]] || { echo "cuda-pretend: $sadm is not there; make cuda builds it" >&2; exit 1; }

"$scripts/pretend/build.sh" "$toolkit" "$with"
rm -rf "$without" "$runs"
mkdir -p "$without"
ln -s "$with"/lib*.so* "$without"
rm "$without/libcudnn.so.9"

# On the GPU whose libraries lie in a folder, and whose convolutions and layers somebody must make.
on() { # folder, whose convolutions, whose layers (extended regular expressions), command...
    local folder=$1 who="convolutions by $2; layers by $3" said=$target/pretended/said
    shift 3
    echo "== $*, $who"
    if ! LD_LIBRARY_PATH=$folder "$@" >"$said" 2>&1; then
        cat "$said"
        exit 1
    fi
    tail -n 1 "$said"
    grep -qxE "sadm: cuda:0, $who" "$said" || { cat "$said"; exit 1; }
}

for dtype in f32 tf32 bf16 f16 f64; do
    on "$with" cuDNN sadm "$sadm" verify --device cuda:0 --dtype "$dtype" --cases "$cases"
done
for dtype in f32 bf16; do
    SADM_KERNELS=off on "$without" candle candle "$sadm" verify --device cuda:0 --dtype "$dtype" --cases "$cases"
done
PRETEND_WRONG=cudnn on "$with" "cuDNN, by candle where cuDNN failed its test: f32 \\(.*" sadm \
    "$sadm" verify --device cuda:0 --cases 4 --only conv
PRETEND_WRONG=kernels on "$with" cuDNN "sadm, by candle where sadm's kernels failed their test: bf16 \\(.*" \
    "$sadm" verify --device cuda:0 --dtype bf16 --cases 4 --only norm

options=(--set train.steps=8 --set train.batch=8 --set encoder.batch=8 --set train.log_every=1 --set sample.count=2 --set sample.steps=2)
for preset in digits digits-dit; do
    echo "== $preset on the CPU"
    "$sadm" train --preset "$preset" --out "$runs/$preset-cpu" "${options[@]}" 2>&1 | tail -n 1
    for compute in f32 bf16; do
        on "$with" cuDNN sadm "$sadm" train --preset "$preset" --device cuda:0 --out "$runs/$preset-$compute" "${options[@]}" \
            --set train.compute="$compute"
    done
done

# A step waits for nothing that the GPU was given: twice as many steps wait as often. Batches of 256 come from pinned memory.
# And how many kernels a step launches, with ours and without.
small=(--set train.batch=256 --set encoder.batch=256 --set train.log_every=1 --set sample.count=2 --set sample.steps=2
    --set shadow.every=0 --set 'model.unet.channels=[4]' --set 'model.unet.attention=[]' --set model.unet.blocks=1
    --set model.unet.groups=2 --set model.unet.emb_dim=8 --set model.unet.time_dim=8 --set 'encoder.widths=[4]'
    --set encoder.groups=2 --set encoder.dim=8)
counts() { # steps, whether with our kernels
    PRETEND_COUNT=1 SADM_KERNELS=$2 LD_LIBRARY_PATH=$with "$sadm" train --preset digits --device cuda:0 --out "$runs/waits-$1-$2" \
        "${small[@]}" --set train.steps="$1" 2>&1 |
        sed -n 's/^the pretended GPU: \([0-9]*\) waits .*, \([0-9]*\) launches$/\1 \2/p'
}
read -r few fewer_launches < <(counts 6 on)
read -r many launches < <(counts 12 on)
echo "== 6 steps wait $few times for all of the GPU's work, 12 steps $many times"
[[ -n $few && $few == "$many" ]] || { echo "cuda-pretend: a step waits" >&2; exit 1; }
read -r _ fewer_launches_off < <(counts 6 off)
read -r _ launches_off < <(counts 12 off)
echo "== 6 steps launch $((launches - fewer_launches)) kernels, without ours $((launches_off - fewer_launches_off))"
"$sadm" train --preset digits --out "$runs/waits-12-cpu" "${small[@]}" --set train.steps=12 2>&1 | tail -n 1

python3 - "$runs" <<'END'
import json, sys

def losses(run):
    lines = [json.loads(line) for line in open(f"{sys.argv[1]}/{run}/metrics.jsonl")]
    return [line["loss"] for line in lines if "loss" in line]

for preset in ["digits", "digits-dit", "waits-12"]:
    # Each step is bounded by its shadow check. This is for what goes from step to step, an update left out or made twice:
    # some roundings, 2⁷ of f32, and 4 of bf16, which are made in the middle of a network and average out.
    runs = [("on", 2**-17), ("off", 2**-17)] if preset == "waits-12" else [("f32", 2**-17), ("bf16", 2**-6)]
    for run, allowed in runs:
        here, there = losses(f"{preset}-cpu"), losses(f"{preset}-{run}")
        worst = max(abs(a - b) / abs(a) for a, b in zip(here, there, strict=True))
        print(f"{preset} in {run}: {len(here)} losses, at most {worst:.1e} from the CPU's, allowed {allowed:g}")
        if not worst <= allowed:
            sys.exit("cuda-pretend: that is too far")
END
echo "cuda-pretend: all of it holds; on a GPU itself nothing was run"
