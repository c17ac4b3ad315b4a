#!/usr/bin/env python3
"""Reads a run's event files with TensorBoard's own package and compares them with what the run logged.

    VENV/bin/pip install tensorboard==2.21.0
    VENV/bin/python scripts/tensorboard-check.py runs/digits [RUN…]

Every number of metrics.jsonl must be there once, at its step, under run/KEY and PHASE/KEY, rounded to f32, and
nothing else; every sample grid as the same PNG; the configuration as text. Killed and resumed runs included.
"""

import json
import struct
import sys
from pathlib import Path

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

EVERYTHING = {"scalars": 0, "images": 0, "tensors": 0}


def f32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def wanted(run):
    """(tag, step) → the values in metrics.jsonl."""
    found = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        line = json.loads(line)
        for key, value in line.items():
            if key != "step" and isinstance(value, (int, float)):
                for group in ("run", line["phase"]):
                    found.setdefault((f"{group}/{key}", line["step"]), []).append(f32(value))
    return found


def check(run):
    events = EventAccumulator(str(run), size_guidance=EVERYTHING).Reload()
    tags = events.Tags()
    got = {}
    for tag in tags["scalars"]:
        for event in events.Scalars(tag):
            got.setdefault((tag, event.step), []).append(event.value)
    want = wanted(run)
    for key in sorted(want.keys() | got.keys()):
        assert want.get(key) == got.get(key), f"{key}: {want.get(key)} logged, {got.get(key)} in the event files"
    pictures = {int(path.stem): path.read_bytes() for path in (run / "samples").glob("*.png")}
    images = [(event.step, event.encoded_image_string) for event in events.Images("samples")] if "samples" in tags["images"] else []
    assert images == sorted(pictures.items()), f"images at {[s for s, _ in images]}, files at {sorted(pictures)}"
    (text,) = events.Tensors("config")
    (config,) = text.tensor_proto.string_val
    assert config.decode() == f"```toml\n{(run / 'config.toml').read_text()}```\n", "another configuration"
    files = len(list(run.glob("events.out.tfevents.*")))
    print(f"{run}: {len(want)} numbers, {len(images)} images, in {files} files: as logged")


for name in sys.argv[1:]:
    check(Path(name))
