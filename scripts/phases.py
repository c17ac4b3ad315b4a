#!/usr/bin/env python3
"""Draws samples and relations of one run at the end of each phase: `scripts/phases.py RUN FILE.svg [SADM]`.

RUN is a run of all phases (`sadm train --preset digits --out RUN`), SADM the program (default: `sadm` on the path). The maps are
those of `sadm report`; the samples are drawn by `sadm sample` from copies of the run that end with each phase, with one seed.
The book's `img/phases.svg` is made by it.
"""

import base64
import pathlib
import re
import shutil
import struct
import subprocess
import sys
import tempfile

SIDE, GAP, HEAD = 150, 14, 20


def heat_maps(page):
    """The maps of one noise level: title, lines of the caption, cells."""
    part = page[page.index("Relations within a batch"):]
    part = part[part.index("<h4>"):]
    row = part[part.index('<div class="row">'):part.index("</div>")]
    noise = re.search(r"<h4>(.*?)</h4>", part)[1]
    maps = re.findall(r"<svg[^>]*>(.*?)</svg><figcaption><b>(.*?)</b>(.*?)</figcaption>", row, re.S)
    return noise, [(title, re.sub(r"<su[bp]>.*?</su[bp]>", "", rest).split("<br>")[1:], cells) for cells, title, rest in maps]


def samples(run, step, program, work):
    """A PNG of 20 samples of the run as it was at a step."""
    copy = work / f"at-{step}"
    shutil.copytree(run, copy)
    for folder in (copy / "checkpoints").iterdir():
        if int(folder.name) > step:
            shutil.rmtree(folder)
    out = work / f"{step}.png"
    subprocess.run([program, "sample", "--run", copy, "--count", "20", "--seed", "1", "--threads", "1", "--out", out],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return out.read_bytes()


def main():
    if len(sys.argv) < 3:
        sys.exit(__doc__)
    run, file = map(pathlib.Path, sys.argv[1:3])
    program = sys.argv[3] if len(sys.argv) > 3 else "sadm"
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        report = work / "report.html"
        subprocess.run([program, "report", run, "--out", report], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        noise, maps = heat_maps(report.read_text(encoding="utf-8"))
        maps = [m for m in maps if m[0] != "labels"]
        pictures = []
        for title, _, _ in maps:
            step = re.search(r"step (\d+)", title)
            pictures.append(samples(run, int(step[1]), program, work) if step else None)
    width = len(maps) * (SIDE + GAP) - GAP
    sized = [struct.unpack(">II", p[16:24]) for p in pictures if p]
    tall = SIDE * sized[0][1] // sized[0][0]
    top = HEAD + tall + GAP
    height = top + HEAD + SIDE + 40
    text = 'font-family="sans-serif" fill="#808080"'
    svg = [f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" role="img">']
    for k, ((title, lines, cells), picture) in enumerate(zip(maps, pictures)):
        x = k * (SIDE + GAP)
        svg.append(f'<text x="{x}" y="14" font-size="12" font-weight="bold" {text}>{title}</text>')
        if picture:
            data = base64.b64encode(picture).decode()
            svg.append(f'<image x="{x}" y="{HEAD}" width="{SIDE}" height="{tall}" href="data:image/png;base64,{data}" style="image-rendering:pixelated"/>')
        else:
            svg.append(f'<text x="{x}" y="{HEAD + 14}" font-size="11" {text}>samples above,</text>')
            svg.append(f'<text x="{x}" y="{HEAD + 28}" font-size="11" {text}>relations below,</text>')
            svg.append(f'<text x="{x}" y="{HEAD + 42}" font-size="11" {text}>at {noise.lower()}</text>')
        svg.append(f'<svg x="{x}" y="{top}" width="{SIDE}" height="{SIDE}" viewBox="0 0 160 160" shape-rendering="crispEdges">{cells}</svg>')
        for line, words in enumerate(lines):
            words = words.replace("|A − A|", "|M̂ − M|")
            svg.append(f'<text x="{x}" y="{top + SIDE + 14 + 13 * line}" font-size="10" {text}>{words}</text>')
    file.write_text("".join(svg) + "</svg>\n", encoding="utf-8")


main()
