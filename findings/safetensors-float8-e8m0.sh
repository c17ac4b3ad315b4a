#!/usr/bin/env bash
# safetensors.torch.save writes float8_e8m0fnu (the scales of microscaling formats) as F8_E8M0, and safetensors.torch.load of the same version raises KeyError on it.
# safetensors 0.8.0, torch 2.15.0 (PyPI).
# Hurts who stores quantised weights: the file is right and other readers take it, but the package that wrote it does not; one such tensor spoils the whole load().
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet safetensors==0.8.0 torch==2.15.0 numpy==2.4.6

cat >"$work/save.py" <<'PYTHON'
import json
import safetensors
import safetensors.torch
import torch

print("safetensors", safetensors.__version__, "torch", torch.__version__)
scales = torch.tensor([127, 128], dtype=torch.uint8).view(torch.float8_e8m0fnu)
content = safetensors.torch.save({"scales": scales, "weight": torch.ones(2)})
length = int.from_bytes(content[:8], "little")
print("header", json.loads(content[8:8 + length]))
try:
    safetensors.torch.load(content)
except KeyError as error:
    print("load: KeyError", error)
else:
    raise SystemExit("it is read now")
PYTHON
"$work/venv/bin/python" "$work/save.py"
