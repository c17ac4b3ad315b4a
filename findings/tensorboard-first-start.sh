#!/usr/bin/env bash
# A run resumed with purge_step, as PyTorch's and tensorboardX's SummaryWriter do it, shows the redone steps twice under `tensorboard --load_fast=false`, once in EventAccumulator and the data server: that reader takes a run's first START event for its beginning, and the first writer wrote none.
# tensorboard 2.21.0 with tensorboard-data-server 0.7.2, tensorboardX 2.6.5, Python 3.11 (2026-11-30).
# Whoever resumes a killed run and looks at it where the data server does not run (no wheel for the platform, --load_fast=false, remote file systems). Writing a START in the first file too helps in all three readers.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet tensorboard==2.21.0 tensorboard-data-server==0.7.2 tensorboardX==2.6.5 "setuptools<81"
"$folder/venv/bin/python" - "$folder" <<'PYTHON'
import logging
import sys
import time
from importlib.metadata import version
from pathlib import Path

from tensorboard.backend.event_processing.data_provider import MultiplexerDataProvider
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from tensorboard.context import RequestContext
from tensorboard.data.server_ingester import SubprocessServerDataIngester, get_server_binary
from tensorboard.util.grpc_util import ChannelCredsType
from tensorboardX import SummaryWriter

logging.getLogger("tensorboard").setLevel(logging.ERROR)
for package in ["tensorboard", "tensorboard-data-server", "tensorboardX"]:
    print(package, version(package))


def write(run, start_at_first):
    """Steps 1 to 4, a kill, and from the checkpoint of step 2 steps 3 to 5."""
    for purge, steps in [(0 if start_at_first else None, range(1, 5)), (3, range(3, 6))]:
        writer = SummaryWriter(str(run), purge_step=purge)
        for step in steps:
            writer.add_scalar("loss", 1.0, step)
        writer.close()
        time.sleep(1.1)  # the time in a file's name has seconds


def steps_of(provider):
    ask = {"experiment_id": "", "plugin_name": "scalars", "downsample": 1000}
    runs = provider.read_scalars(RequestContext(), **ask)
    return [datum.step for tags in runs.values() for datum in tags.get("loss", [])]


def readers(run):
    events = EventAccumulator(str(run)).Reload()
    yield "EventAccumulator", [event.step for event in events.Scalars("loss")]
    multiplexer = EventMultiplexer()
    multiplexer.AddRunsFromDirectory(str(run)).Reload()
    yield "--load_fast=false", steps_of(MultiplexerDataProvider(multiplexer, str(run)))
    server = SubprocessServerDataIngester(
        server_binary=get_server_binary(), logdir=str(run), reload_interval=1, channel_creds_type=ChannelCredsType.LOCAL
    )
    server.start()
    patience = time.monotonic() + 20
    while 5 not in (steps := steps_of(server.data_provider)) and time.monotonic() < patience:
        time.sleep(0.2)
    yield "data server", steps


once, twice = [1, 2, 3, 4, 5], [1, 2, 3, 4, 3, 4, 5]
expected = {
    "as the writers do": {"EventAccumulator": once, "--load_fast=false": twice, "data server": once},
    "with a START in the first file": {"EventAccumulator": once, "--load_fast=false": once, "data server": once},
}
same = True
for about, start in [("as the writers do", False), ("with a START in the first file", True)]:
    run = Path(sys.argv[1]) / f"run-{start}"
    write(run, start)
    for name, steps in readers(run):
        print(f"{about}: {name} shows steps {steps}")
        same &= steps == expected[about][name]
sys.exit(0 if same else "this is no longer what was found")
PYTHON
