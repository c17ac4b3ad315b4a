#!/usr/bin/env bash
# torch.save in the old (non-zip) format writes tensors of float8 and of unsigned integers beyond a byte without an error, and torch.load cannot read the file.
# torch 2.15.0 (PyPI).
# Hurts who saves checkpoints with _use_new_zipfile_serialization=False for older readers: they are found unreadable when they are needed.
set -euo pipefail

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install --quiet torch==2.15.0 numpy==2.4.6

cat >"$work/save.py" <<'PYTHON'
import io
import torch

print("torch", torch.__version__)
unreadable = 0
for name in ["float32", "bfloat16", "uint8", "float8_e4m3fn", "float8_e5m2", "uint16", "uint32"]:
    tensor = torch.ones(3).to(getattr(torch, name))
    for new in [True, False]:
        file = io.BytesIO()
        torch.save({"w": tensor}, file, _use_new_zipfile_serialization=new)
        file.seek(0)
        try:
            torch.load(file)
            outcome = "read back"
        except Exception as error:
            outcome = f"{type(error).__name__}: {error}"
            assert not new, outcome
            unreadable += 1
        print(f"{name}, {'zip' if new else 'old'} format, {len(file.getvalue())} bytes written: {outcome.splitlines()[0]}")
assert unreadable == 4, unreadable
PYTHON
"$work/venv/bin/python" "$work/save.py"
