#!/usr/bin/env python3
"""Reads a run's event files with TensorBoard's own package and compares them with what the run logged.

    VENV/bin/pip install tensorboard==2.21.0
    VENV/bin/python scripts/tensorboard-check.py runs/digits [RUN…]

Every number of metrics.jsonl must be there once, at its step, under run/KEY and PHASE/KEY, rounded to f32, and
nothing else; every sample grid as the same PNG; the configuration as text. Killed and resumed runs included.
TensorBoard has three readers, which do not agree about every file: all three are asked.
"""

import logging
import struct
import sys
import time
from json import loads
from pathlib import Path

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.data.server_ingester import SubprocessServerDataIngester, get_server_binary
from tensorboard.util.grpc_util import ChannelCredsType

# Of each the most that a reader keeps: 0 is no bound.
SAMPLES = {"scalars": 0, "images": 0, "text": 0}
# How long the data server may take to read a run.
SECONDS = 60


# Each reader says whenever it forgets steps.
logging.getLogger("tensorboard").setLevel(logging.ERROR)


def f32(number):
    return struct.unpack("<f", struct.pack("<f", number))[0]


def logged(run):
    """What the run wrote besides: numbers as (tag, step) → values, pictures as (step, PNG), the configuration."""
    numbers = {}
    for line in (run / "metrics.jsonl").read_text().splitlines():
        line = loads(line)
        for key, value in line.items():
            if key != "step" and isinstance(value, (int, float)):
                for group in ("run", line["phase"]):
                    numbers.setdefault((f"{group}/{key}", line["step"]), []).append(f32(value))
    pictures = sorted((int(path.stem), path.read_bytes()) for path in (run / "samples").glob("*.png"))
    return numbers, pictures, [f"```toml\n{(run / 'config.toml').read_text()}```\n"]


def accumulated(run):
    """As EventAccumulator reads it, which notebooks use."""
    everything = {"scalars": 0, "images": 0, "tensors": 0}
    events = EventAccumulator(str(run), size_guidance=everything).Reload()
    tags, numbers = events.Tags(), {}
    for tag in tags["scalars"]:
        for event in events.Scalars(tag):
            numbers.setdefault((tag, event.step), []).append(event.value)
    images = events.Images("samples") if "samples" in tags["images"] else []
    texts = events.Tensors("config") if "config" in tags["tensors"] else []
    pictures = [(event.step, event.encoded_image_string) for event in images]
    return numbers, pictures, [text.tensor_proto.string_val[0].decode() for text in texts]


def provided(provider):
    """As the browser's page gets it from a data provider."""
    numbers, pictures, texts = {}, [], []
    ask = {"experiment_id": "", "downsample": 2**30}
    context = RequestContext()
    for series in provider.read_scalars(context, plugin_name="scalars", **ask).values():
        for tag, data in series.items():
            for datum in data:
                numbers.setdefault((tag, datum.step), []).append(datum.value)
    for series in provider.read_blob_sequences(context, plugin_name="images", **ask).values():
        for datum in series.get("samples", []):
            # Width and height come before the image.
            _, _, *images = [provider.read_blob(context, blob_key=blob.blob_key) for blob in datum.values]
            pictures.extend((datum.step, image) for image in images)
    for series in provider.read_tensors(context, plugin_name="text", **ask).values():
        for tag, data in series.items():
            texts.extend(datum.numpy.item().decode() for datum in data if tag == "config")
    return numbers, pictures, texts


def slow(run):
    """As `tensorboard --load_fast=false` reads it, whose accumulator knows a run's first START from the others."""
    multiplexer = EventMultiplexer(tensor_size_guidance=SAMPLES)
    multiplexer.AddRunsFromDirectory(str(run)).Reload()
    return provided(MultiplexerDataProvider(multiplexer, str(run)))


def fast(run, want):
    """As the data server of `tensorboard` reads it; it answers before it has read all, so until it gives `want`."""
    ingester = SubprocessServerDataIngester(
        server_binary=get_server_binary(),
        logdir=str(run),
        reload_interval=1,
        channel_creds_type=ChannelCredsType.LOCAL,
        samples_per_plugin=SAMPLES,
    )
    ingester.start()
    last = time.monotonic() + SECONDS
    while (got := provided(ingester.data_provider)) != want and time.monotonic() < last:
        time.sleep(0.2)
    return got


def check(run):
    want = numbers, pictures, texts = logged(run)
    readers = {
        "EventAccumulator": lambda: accumulated(run),
        "--load_fast=false": lambda: slow(run),
        "data server": lambda: fast(run, want),
    }
    for name, read in readers.items():
        got_numbers, got_pictures, got_texts = read()
        for key in sorted(numbers.keys() | got_numbers.keys()):
            logs, shows = numbers.get(key), got_numbers.get(key)
            assert logs == shows, f"{name}: {key}: {logs} logged, {shows} in the event files"
        steps = [step for step, _ in got_pictures]
        assert got_pictures == pictures, f"{name}: images at {steps}, files at {[step for step, _ in pictures]}"
        assert got_texts == texts, f"{name}: another configuration, or not one: {got_texts}"
    files = len(list(run.glob("events.out.tfevents.*")))
    print(f"{run}: {len(numbers)} numbers, {len(pictures)} images, in {files} files: as logged, to all of {', '.join(readers)}")


for name in sys.argv[1:]:
    check(Path(name))
