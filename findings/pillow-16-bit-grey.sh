#!/usr/bin/env bash
# Pillow makes 8 bits of 16 in two ways: a grey PNG is cut off at 255, so that all but its darkest 1/256 is white; a colour PNG of the same values keeps its high byte.
# Pillow 13.0.0: open(...).convert("L") and convert("RGB"), as torchvision's ImageFolder calls it. No warning is given.
# Whoever trains or computes FID on 16-bit grey pictures (medical, depth, microscopy) through Pillow, torchvision's ImageFolder, pytorch-fid or clean-fid's loaders.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q pillow==13.0.0
"$folder/venv/bin/python" - "$folder" <<'PY'
import struct, sys, zlib, PIL
from PIL import Image

values = [0, 255, 256, 4095, 32768, 65535]

def png(path, colour, channels):
    chunk = lambda kind, x: struct.pack(">I", len(x)) + kind + x + struct.pack(">I", zlib.crc32(kind + x))
    row = b"\0" + b"".join(struct.pack(">H", v) * channels for v in values)
    head = struct.pack(">IIBBBBB", len(values), 1, 16, colour, 0, 0, 0)
    open(path, "wb").write(b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", head) + chunk(b"IDAT", zlib.compress(row)) + chunk(b"IEND", b""))

grey, colour = sys.argv[1] + "/grey.png", sys.argv[1] + "/colour.png"
png(grey, 0, 1)
png(colour, 2, 3)
reds = lambda picture: [picture.getpixel((x, 0))[0] for x in range(len(values))]
found = {
    "grey, convert('L')": [Image.open(grey).convert("L").getpixel((x, 0)) for x in range(len(values))],
    "grey, convert('RGB')": reds(Image.open(grey).convert("RGB")),
    "colour, convert('RGB')": reds(Image.open(colour).convert("RGB")),
}
print(f"Pillow {PIL.__version__}; 16-bit values {values}")
for name, got in found.items():
    print(f"{name:24} {got}")
cut, high = [min(v, 255) for v in values], [v >> 8 for v in values]
if list(found.values()) != [cut, cut, high]:
    sys.exit("Pillow behaves otherwise now")
PY
