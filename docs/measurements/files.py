"""What each tool makes of the same file: the numbers of docs/src/files.md.

    pip install -r docs/measurements/requirements-files.txt
    python docs/measurements/files.py                # without the lines of the `image` crate and of a browser
    python docs/measurements/files.py --image-crate  # compiles it in a temporary folder; needs cargo
    python docs/measurements/files.py --chromium     # asks an installed Chromium too

Every file is made here, by hand where a library would not write it, and read by each tool as its users read pictures: the
call is named in the output. Nothing of this project is run.
"""

import base64
import os
import re
import struct
import subprocess
import sys
import tempfile
import warnings
import zlib
from pathlib import Path

import cv2
import imageio
import imageio.v3 as iio
import numpy as np
import PIL
import skimage
import skimage.io
import skimage.transform
import torch
import torchvision
from PIL import Image, ImageOps, features
from torchvision.io import ImageReadMode, decode_image
from torchvision.transforms import functional as F

MAIN = r"""
use image::{imageops::FilterType, DynamicImage};
fn main() {
    let args: Vec<String> = std::env::args().collect();
    let picture = image::open(&args[2]).expect("readable");
    let out = match args[1].as_str() {
        "rgb8" => DynamicImage::ImageRgb8(picture.into_rgb8()),
        "luma8" => DynamicImage::ImageLuma8(picture.into_luma8()),
        "bicubic" => {
            let side: u32 = args[4].parse().expect("a number");
            DynamicImage::ImageLuma8(picture.into_luma8()).resize_exact(side, side, FilterType::CatmullRom)
        }
        other => panic!("{other}"),
    };
    println!("{} {}", out.width(), out.height());
    std::fs::write(&args[3], out.into_bytes()).expect("writable");
}
"""


PAGE = """<body>{}<pre id="said"></pre><script>onload = () => {{
  const picture = document.images[0], canvas = document.createElement("canvas");
  canvas.width = picture.naturalWidth; canvas.height = picture.naturalHeight;
  const context = canvas.getContext("2d"); context.drawImage(picture, 0, 0);
  const data = context.getImageData(0, 0, canvas.width, canvas.height).data;
  document.getElementById("said").textContent = [canvas.width, canvas.height, ...data].join(" ");
}}</script>"""


def browser(path):
    """What headless Chromium paints."""
    kind = "jpeg" if path.suffix == ".jpg" else "png"
    source = base64.b64encode(path.read_bytes()).decode()
    page = path.with_suffix(".html")
    page.write_text(PAGE.format(f'<img src="data:image/{kind};base64,{source}">'))
    options = ["--headless", "--no-sandbox", "--disable-gpu", "--virtual-time-budget=3000", "--dump-dom"]
    said = subprocess.run(["chromium", *options, page.as_uri()], capture_output=True, text=True, timeout=120).stdout
    width, height, *values = map(int, re.search(r'<pre id="said">([^<]*)', said)[1].split())
    return np.array(values, np.uint8).reshape(height, width, 4)[..., :3]


class Crate:
    """The `image` crate, as `image::open` and a conversion."""

    def __init__(self, folder):
        self.folder = Path(folder) / "image-crate"
        (self.folder / "src").mkdir(parents=True)
        (self.folder / "Cargo.toml").write_text(
            '[package]\nname = "opened"\nversion = "0.1.0"\nedition = "2024"\n\n[dependencies]\n'
            'image = { version = "=0.25.10", default-features = false, features = ["png", "jpeg"] }\n'
        )
        (self.folder / "src/main.rs").write_text(MAIN)
        cargo = os.environ.get("CARGO", "cargo")
        subprocess.run([cargo, "build", "--quiet", "--release"], cwd=self.folder, check=True)
        lock = (self.folder / "Cargo.lock").read_text()
        part = lambda name: lock.split(f'name = "{name}"\nversion = "')[1].split('"')[0]
        self.version = f"image crate {part('image')}, png {part('png')}, zune-jpeg {part('zune-jpeg')}"

    def read(self, path, kind="rgb8", side=None):
        out = self.folder / "out"
        args = [self.folder / "target/release/opened", kind, path, out] + ([str(side)] if side else [])
        said = subprocess.run(args, capture_output=True, text=True, check=True).stdout
        width, height = map(int, said.split())
        values = np.fromfile(out, np.uint8)
        return values.reshape(height, width, 3 if kind == "rgb8" else 1)


def png(width, height, depth, colour, rows, before=(), after=()):
    """A PNG by hand: no library writes some of these."""

    def chunk(kind, content):
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    raw = b"".join(b"\0" + row for row in rows)
    chunks = [(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)), *before]
    chunks += [(b"IDAT", zlib.compress(raw)), *after, (b"IEND", b"")]
    return b"\x89PNG\r\n\x1a\n" + b"".join(chunk(*c) for c in chunks)


def orientation(value):
    return b"MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0" + bytes([value]) + bytes(6)


def tools(crate, chromium):
    """Each tool's usual way to three channels of bytes."""
    found = {
        "Pillow, open + convert('RGB') (torchvision's ImageFolder)": lambda p: np.asarray(Image.open(p).convert("RGB")),
        "torchvision, decode_image(RGB)": lambda p: decode_image(str(p), ImageReadMode.RGB).permute(1, 2, 0).numpy(),
        "OpenCV, imread": lambda p: cv2.imread(str(p))[..., ::-1],
    }
    if crate:
        found["image crate, open + into_rgb8"] = crate.read
    if chromium:
        found["Chromium, as painted"] = browser
    return found


def as_they_are():
    """Readers that keep what the file has."""
    return {
        "Pillow, np.asarray(open)": lambda p: np.asarray(Image.open(p)),
        "OpenCV, IMREAD_UNCHANGED": lambda p: cv2.imread(str(p), cv2.IMREAD_UNCHANGED),
        "imageio, v3.imread": lambda p: np.asarray(iio.imread(p)),
        "scikit-image, io.imread": lambda p: np.asarray(skimage.io.imread(str(p))),
    }


def tried(read, path):
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return read(path)
    except Exception as reason:  # a tool that refuses is an answer too
        return f"{type(reason).__name__}: {str(reason).splitlines()[0][:90]}"


def show(title, path, readers, what):
    print(f"\n## {title}")
    for name, read in readers.items():
        got = tried(read, path)
        print(f"{name:60} {got if isinstance(got, str) else what(got)}")


def first_channel(x):
    x = x if x.ndim == 2 else x[..., 0]
    return f"{x.dtype} {x.ravel().tolist()}"


def main():
    folder = Path(tempfile.mkdtemp())
    crate = Crate(folder) if "--image-crate" in sys.argv else None
    print(
        f"Pillow {PIL.__version__} (libjpeg-turbo {features.version('libjpeg_turbo')}), torch {torch.__version__}, "
        f"torchvision {torchvision.__version__}, OpenCV {cv2.__version__}, imageio {imageio.__version__}, "
        f"scikit-image {skimage.__version__}, NumPy {np.__version__}, Python {sys.version.split()[0]}"
    )
    if crate:
        print(crate.version)
    path = lambda name: folder / name
    chromium = "--chromium" in sys.argv
    if chromium:
        print(subprocess.run(["chromium", "--version"], capture_output=True, text=True, check=True).stdout.strip())
    every = tools(crate, chromium)

    values = [0, 255, 256, 4095, 32768, 65535]
    row = b"".join(struct.pack(">H", v) for v in values)
    path("grey16.png").write_bytes(png(6, 1, 16, 0, [row]))
    rows = b"".join(struct.pack(">HHH", v, v, v) for v in values)
    path("rgb16.png").write_bytes(png(6, 1, 16, 2, [rows]))
    for name in ["grey16.png", "rgb16.png"]:
        show(f"16 bits, {name}: {values}", path(name), {**every, **as_they_are()}, first_channel)

    stored = [bytes([1, 2, 3]), bytes([4, 5, 6])]
    turned = {"before the pixels": ([(b"eXIf", orientation(6))], []), "after them": ([], [(b"eXIf", orientation(6))])}
    oriented = {
        **every,
        **as_they_are(),
        "Pillow, ImageOps.exif_transpose": lambda p: np.asarray(ImageOps.exif_transpose(Image.open(p))),
        "torchvision, decode_image(apply_exif_orientation=True)": lambda p: decode_image(
            str(p), apply_exif_orientation=True
        ).permute(1, 2, 0).numpy(),
    }
    shape = lambda x: f"{x.shape[0]}×{x.shape[1]} {x.reshape(x.shape[0], x.shape[1], -1)[..., 0].tolist()}"
    for where, (before, after) in turned.items():
        path("turned.png").write_bytes(png(3, 2, 8, 0, stored, before, after))
        show(f"orientation 6 in a PNG, {where}: stored 2×3", path("turned.png"), oriented, shape)
    grey = Image.fromarray(np.arange(8 * 24, dtype=np.uint8).reshape(8, 24))
    exif = Image.Exif()
    exif[0x0112] = 6
    grey.save(path("turned.jpg"), exif=exif.tobytes())
    show("orientation 6 in a JPEG: stored 8×24", path("turned.jpg"), oriented, lambda x: f"{x.shape[0]}×{x.shape[1]}")

    palette = [(b"PLTE", bytes([200, 0, 0, 0, 0, 200])), (b"tRNS", bytes([0, 128]))]
    path("palette.png").write_bytes(png(2, 1, 8, 3, [bytes([0, 1])], palette))
    pixels = lambda x: f"{x.dtype} {x.reshape(-1, x.shape[-1] if x.ndim == 3 else 1).tolist()}"
    show(
        "palette (200,0,0) and (0,0,200), of opacity 0 and 128",
        path("palette.png"),
        {**every, **as_they_are()},
        pixels,
    )
    path("rgba.png").write_bytes(png(2, 1, 8, 6, [bytes([200, 0, 0, 0, 0, 0, 200, 128])]))
    show("the same as RGBA", path("rgba.png"), {**every, **as_they_are()}, pixels)

    gamma = [(b"gAMA", struct.pack(">I", 100000))]
    path("gamma.png").write_bytes(png(2, 1, 8, 0, [bytes([64, 128])], gamma))
    show("gAMA of 1 (linear light): 64, 128", path("gamma.png"), {**every, **as_they_are()}, first_channel)

    frames = [Image.new("RGB", (2, 1), (v, v, v)) for v in (10, 90)]
    frames[0].save(path("moving.png"), save_all=True, append_images=frames[1:], duration=100)
    show(
        "an animated PNG of 10 and 90",
        path("moving.png"),
        {**every, **as_they_are()},
        lambda x: f"{x.shape} {np.unique(x).tolist()}",
    )

    ramp = np.stack(np.meshgrid(*[np.linspace(0, 255, 16).astype(np.uint8)] * 2), -1)
    cmyk = np.concatenate([ramp, np.full_like(ramp[..., :1], 40), np.full_like(ramp[..., :1], 60)], -1)
    Image.fromarray(cmyk.repeat(8, 0).repeat(8, 1), "CMYK").save(path("cmyk.jpg"), quality=95)
    print("\n## a JPEG in CMYK, against Pillow")
    compare(path("cmyk.jpg"), {**every, "imageio, v3.imread(mode='RGB')": lambda p: iio.imread(p, mode="RGB")})

    rng = np.random.default_rng(0)
    for title, picture in jpegs(rng).items():
        for sampling, name in [(2, "4:2:0"), (0, "4:4:4")]:
            Image.fromarray(picture).save(path("a.jpg"), quality=90, subsampling=sampling)
            print(f"\n## a JPEG of {title}, {name}, quality 90, against Pillow")
            compare(path("a.jpg"), every)

    resizing(path, crate, rng)


def jpegs(rng):
    y, x = np.mgrid[0:96, 0:96]
    smooth = np.stack([128 + 100 * np.sin(x / 9 + k) * np.cos(y / 11 - k) for k in range(3)], -1)
    edges = rng.integers(0, 2, (12, 12, 3)).repeat(8, 0).repeat(8, 1) * 255
    return {
        "smooth colours": smooth.round().astype(np.uint8),
        "blocks of black, white and pure colours": edges.astype(np.uint8),
    }


def compare(path, readers):
    reference = None
    for name, read in readers.items():
        got = tried(read, path)
        if isinstance(got, str):
            print(f"{name:60} {got}")
        elif reference is None:
            reference = got.astype(int)
            print(f"{name:60} mean {reference.mean():.2f}")
        else:
            apart = np.abs(got.astype(int) - reference)
            print(f"{name:60} at most {apart.max()} levels apart, {apart.mean():.3f} in the mean")


def resizing(path, crate, rng):
    """From 64×64 to other sides with cubic filters: each tool against the exact filter, cut once at the end."""
    y, x = np.mgrid[0:64, 0:64]
    pictures = {
        "smooth": (128 + 100 * np.sin(x / 9) * np.cos(y / 11)).round().astype(np.uint8),
        "squares of 4 pixels, black and white": (((x // 4 + y // 4) % 2) * 255).astype(np.uint8),
        "black and white at random": (rng.integers(0, 2, (64, 64)) * 255).astype(np.uint8),
    }
    for title, picture in pictures.items():
        Image.fromarray(picture).save(path("resized.png"))
        for side in (299, 100, 40):
            size = [side, side]
            whole = np.asarray(Image.fromarray(picture.astype(np.float32)).resize(size, Image.Resampling.BICUBIC))
            exact = np.clip(np.floor(whole + 0.5), 0, 255)
            tensor = torch.from_numpy(picture)[None]
            found = {
                "Pillow, bytes": np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.BICUBIC)),
                "Pillow, bytes, LANCZOS against itself in floats": lanczos(picture, size) + exact,
                "torchvision, bytes": F.resize(tensor, size, F.InterpolationMode.BICUBIC, antialias=True)[0].numpy(),
                "torchvision, floats, cut": F.resize(tensor.float(), size, F.InterpolationMode.BICUBIC, antialias=True)[0]
                .clamp(0, 255)
                .round()
                .numpy(),
                "torchvision, floats, antialias=False, cut": F.resize(
                    tensor.float(), size, F.InterpolationMode.BICUBIC, antialias=False
                )[0]
                .clamp(0, 255)
                .round()
                .numpy(),
                "OpenCV, INTER_CUBIC": cv2.resize(picture, size, interpolation=cv2.INTER_CUBIC),
                "scikit-image, order 3": np.clip(
                    skimage.transform.resize(picture.astype(float), size, order=3, mode="edge").round(), 0, 255
                ),
            }
            if crate:
                found["image crate, CatmullRom"] = crate.read(path("resized.png"), "bicubic", side)[..., 0]
            print(f"\n## {title}, 64 to {side}, against Pillow's cubic filter in floats, cut at the end")
            for name, got in found.items():
                apart = np.abs(got.astype(float) - exact)
                print(f"{name:60} at most {apart.max():.0f} levels apart, {apart.mean():.2f} in the mean")


def lanczos(picture, size):
    """How far Pillow's bytes are from its floats under the other filter that overshoots."""
    whole = np.asarray(Image.fromarray(picture.astype(np.float32)).resize(size, Image.Resampling.LANCZOS))
    exact = np.clip(np.floor(whole + 0.5), 0, 255)
    return np.asarray(Image.fromarray(picture).resize(size, Image.Resampling.LANCZOS)) - exact


if __name__ == "__main__":
    main()
