#!/usr/bin/env bash
# Pillow's bicubic and Lanczos resizing of bytes rounds and cuts to 0..255 between its two passes: at hard edges it is tens of levels away from the same filter in floats, cut once at the end.
# Pillow 13.0.0, random black and white pixels, 64x64 to 299x299: about 30 levels for BICUBIC and 60 for LANCZOS, against Pillow's own mode "F". torchvision's resize of uint8 tensors does not cut in between.
# Whoever compares FIDs of sharp pictures (text, line art, masks, pixel art) resized by Pillow with those of a tool that filters in floats, as clean-fid does.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pillow==13.0.0 numpy==2.4.6
"$folder/venv/bin/python" - <<'PY'
import sys
import numpy as np, PIL
from PIL import Image

picture = (np.random.default_rng(0).integers(0, 2, (64, 64)) * 255).astype(np.uint8)
smooth = np.add.outer(np.arange(64), np.arange(64)).astype(np.uint8) + 60

def apart(picture, filter, turned=False):
    bytes_ = np.asarray(Image.fromarray(picture).resize((299, 299), filter)).astype(float)
    floats = np.asarray(Image.fromarray(picture.astype(np.float32)).resize((299, 299), filter))
    return np.abs(bytes_ - np.clip(np.floor(floats + 0.5), 0, 255)).max()

print(f"Pillow {PIL.__version__}, NumPy {np.__version__}: bytes against floats cut at the end, 64 to 299")
found = {}
for name in ["BILINEAR", "BICUBIC", "LANCZOS"]:
    filter = Image.Resampling[name]
    found[name] = apart(picture, filter)
    print(f"{name:8} at most {found[name]:.0f} levels apart on black and white, {apart(smooth, filter):.0f} on a ramp")
# A filter without negative weights has nothing to cut.
if not (found["BILINEAR"] <= 1 and found["BICUBIC"] >= 20 and found["LANCZOS"] >= 40):
    sys.exit("Pillow behaves otherwise now")
PY
