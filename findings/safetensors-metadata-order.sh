#!/usr/bin/env bash
# safetensors writes a file's metadata in the order of a hash map: the same tensors and metadata give other bytes in each process.
# safetensors 0.8.0 (PyPI), NumPy 2.4.6; the Rust crate of the same version does the same.
# Hurts who keeps digests of weight files or compares runs byte by byte: one metadata key is stable, two are not.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet safetensors==0.8.0 numpy==2.4.6

cat >"$work/save.py" <<'PYTHON'
import hashlib
import sys

import numpy
import safetensors
from safetensors.numpy import save

keys = int(sys.argv[1])
if keys == 0:
    print("safetensors", safetensors.__version__, "numpy", numpy.__version__)
else:
    metadata = {f"key{i}": "value" for i in range(keys)}
    print(hashlib.sha256(save({"x": numpy.arange(3)}, metadata)).hexdigest())
PYTHON

"$work/venv/bin/python" "$work/save.py" 0
for keys in 1 6; do
    for _ in $(seq 10); do "$work/venv/bin/python" "$work/save.py" "$keys"; done | sort -u >"$work/$keys"
    echo "$keys metadata keys: $(wc -l <"$work/$keys") different files of 10 with the same content"
done
[[ $(wc -l <"$work/1") == 1 ]] && (($(wc -l <"$work/6") > 1))
