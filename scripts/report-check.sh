#!/usr/bin/env bash
# Looks at reports in headless Chromium: whole, killed, old and several runs; light and dark; phone and desk.
# Needs chromium, node and npm (for puppeteer-core, into target/). Pictures: target/report-check/*.png.
# SADM names the program where it is already built.
set -euo pipefail
cd "$(dirname "$0")/.."

place=${CARGO_TARGET_DIR:-target}/report-check
if [[ -z ${SADM:-} ]]; then
    cargo build --release
    SADM=${CARGO_TARGET_DIR:-target}/release/sadm
fi
for program in chromium node npm; do
    command -v $program >/dev/null || { echo "report-check: $program is missing" >&2; exit 1; }
done
rm -rf "$place/runs" "$place"/*.html "$place"/*.png
mkdir -p "$place/runs"
[[ -d $place/node_modules/puppeteer-core ]] || npm install --silent --no-audit --no-fund --prefix "$place" puppeteer-core@24

tiny() { # FOLDER STEPS [SETTING…]
    local folder=$place/runs/$1 steps=$2 settings=()
    shift 2
    for setting in "model.unet.channels=[8,8]" model.unet.groups=4 "encoder.widths=[8,16]" encoder.groups=4 \
        train.batch=8 train.log_every=1 sample.every=20 sample.count=20 sample.steps=4 shadow.every=4 "$@"; do
        settings+=("--set=$setting")
    done
    "$SADM" train --preset digits --out "$folder" --set=train.steps="$steps" "${settings[@]}" >/dev/null 2>&1
}
tiny whole 80
tiny other 60 structure.relation=euclidean seed=1
tiny base 60 structure.method=none
tiny old 80
tiny killed 80
rm -r "$place"/runs/old/checkpoints/000000{08,40,64}
cut=$(($(wc -c <"$place/runs/killed/metrics.jsonl") / 2))
truncate -s "$cut" "$place/runs/killed/metrics.jsonl"
rm -r "$place"/runs/killed/checkpoints/000000{64,80}
head -c 100 "$place/runs/whole/samples/00000020.png" >"$place/runs/killed/samples/00000020.png"
evaluate() { # RUN STEP…
    local run=$place/runs/$1
    shift
    for step in "$@"; do
        "$SADM" evaluate --run "$run" --step "$step" --count 20 --reference digits --metrics fd,pr --resamples 0 >/dev/null 2>&1
    done
}
evaluate whole 40 64 80
evaluate other 30 48 60

"$SADM" report "$place/runs/whole" --out "$place/whole.html"
"$SADM" report "$place/runs/killed" --out "$place/killed.html"
"$SADM" report "$place/runs/old" --out "$place/old.html"
"$SADM" report "$place"/runs/{whole,other,base,killed} --out "$place/several.html"
# What sadm evaluate wrote is drawn: both numbers of both runs, over steps and over time.
for name in fd-pixels precision-pixels; do
    [[ $(grep -o "<b>$name against [a-z]*</b>" "$place/several.html" | sort -u | wc -l) == 2 ]] ||
        { echo "report-check: $name is not drawn" >&2; exit 1; }
done
node scripts/report-check.mjs "$place"
