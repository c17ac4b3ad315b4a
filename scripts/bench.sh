#!/usr/bin/env bash
# usage: bench.sh [ARGUMENT…]
# Ours and PyTorch side by side, in turns (benches/side_by_side). Installs PyTorch into .venv where it is missing; where
# that fails, our side is timed alone. Arguments go to the bench: --threads N, --rounds N, --seconds S, --clock cpu,
# --compile, --memory, FILTER… (the part of a line's name).
set -euo pipefail
cd "$(dirname "$0")/.."

python=${SADM_BENCH_PYTHON:-.venv/bin/python}
if ! "$python" -c 'import torch, scipy' 2>/dev/null; then
    if [[ -n ${SADM_BENCH_PYTHON:-} ]]; then
        echo "bench: $python lacks torch or scipy" >&2
        exit 1
    fi
    # The build for CPUs alone is small; other indexes carry it under another name.
    { python3 -m venv .venv &&
        { .venv/bin/pip install --quiet torch numpy scipy --index-url https://download.pytorch.org/whl/cpu ||
            .venv/bin/pip install --quiet torch numpy scipy; }; } ||
        { echo "bench: PyTorch cannot be installed here; our side alone" >&2; python=; }
fi

echo "$(date -u '+%Y-%m-%d %H:%M UTC'), commit $(git rev-parse --short HEAD 2>/dev/null || echo none), $(uname -sr)"
awk -F': ' '/^model name/ { print $2; exit }' /proc/cpuinfo 2>/dev/null || true
echo "$(nproc) CPUs, load $(cut -d' ' -f1-3 /proc/loadavg 2>/dev/null || echo unknown)"
cargo bench --bench side_by_side -- ${python:+--python "$python"} "$@"
