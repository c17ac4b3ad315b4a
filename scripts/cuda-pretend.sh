#!/usr/bin/env bash
# usage: cuda-pretend.sh TOOLKIT TARGET
# Runs what `make cuda` built in TARGET on a pretended card (scripts/pretend): every quantity in every element type with cuDNN and without,
# a few steps of two presets in f32 and bf16, beside the same steps on the processor. CASES=64 says how much.
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

# On the card whose libraries lie in a folder, and whose convolutions somebody must make.
on() { # folder, who, command...
    local folder=$1 who=$2 said=$target/pretended/said
    shift 2
    echo "== $*, convolutions by $who"
    if ! LD_LIBRARY_PATH=$folder "$@" >"$said" 2>&1; then
        cat "$said"
        exit 1
    fi
    tail -n 1 "$said"
    grep -qxF "sadm: cuda:0, convolutions by $who" "$said" || { cat "$said"; exit 1; }
}

for dtype in f32 tf32 bf16 f16 f64; do
    on "$with" cuDNN "$sadm" verify --device cuda:0 --dtype "$dtype" --cases "$cases"
done
on "$without" candle "$sadm" verify --device cuda:0 --cases "$cases"
PRETEND_WRONG=1 on "$with" "candle, since cuDNN failed its test" \
    "$sadm" verify --device cuda:0 --cases 4 --only conv

options=(--set train.steps=8 --set train.batch=8 --set encoder.batch=8 --set train.log_every=1 --set sample.count=2 --set sample.steps=2)
for preset in digits digits-dit; do
    echo "== $preset on the processor"
    "$sadm" train --preset "$preset" --out "$runs/$preset-cpu" "${options[@]}" 2>&1 | tail -n 1
    for compute in f32 bf16; do
        on "$with" cuDNN "$sadm" train --preset "$preset" --device cuda:0 --out "$runs/$preset-$compute" "${options[@]}" \
            --set train.compute="$compute"
    done
done
python3 - "$runs" <<'END'
import json, sys

def losses(run):
    lines = [json.loads(line) for line in open(f"{sys.argv[1]}/{run}/metrics.jsonl")]
    return [line["loss"] for line in lines if "loss" in line]

for preset in ["digits", "digits-dit"]:
    # Each step is bounded by its shadow check. This is for what goes from step to step, an update left out or made twice:
    # some roundings, 2⁷ of f32, and 4 of bf16, which are made in the middle of a network and average out.
    for run, allowed in [("f32", 2**-17), ("bf16", 2**-6)]:
        here, there = losses(f"{preset}-cpu"), losses(f"{preset}-{run}")
        worst = max(abs(a - b) / abs(a) for a, b in zip(here, there, strict=True))
        print(f"{preset} in {run}: {len(here)} losses, at most {worst:.1e} from the processor's, allowed {allowed:g}")
        if not worst <= allowed:
            sys.exit("cuda-pretend: that is too far")
END
echo "cuda-pretend: all of it holds; on a card itself nothing was run"
