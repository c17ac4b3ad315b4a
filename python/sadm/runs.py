"""Runs of `sadm train`: configuration, metrics, checkpoints, samples."""

from __future__ import annotations

import json
import tomllib
from dataclasses import dataclass
from os import PathLike
from pathlib import Path
from typing import Any

import numpy as np

from . import _sadm
from ._arrays import F64


@dataclass(frozen=True)
class Run:
    """A run's folder."""

    path: Path
    config: dict[str, Any]
    """The whole configuration, as in `config.toml`."""
    lines: list[dict[str, Any]]
    """The lines of `metrics.jsonl`."""

    def metrics(self, phase: str | None = None) -> dict[str, F64]:
        """Each number of the log as an array, one element for each line of the phase or of all; NaN where a line has none."""
        lines = [line for line in self.lines if phase is None or line.get("phase") == phase]
        names = {name: None for line in lines for name, value in line.items() if _is_number(value)}
        return {name: np.array([_number(line.get(name)) for line in lines]) for name in names}

    def _checkpoints(self) -> dict[int, Path]:
        folder = self.path / "checkpoints"
        found = folder.iterdir() if folder.is_dir() else ()
        return dict(sorted((int(one.name), one) for one in found if one.name.isdecimal()))

    @property
    def steps(self) -> list[int]:
        """The steps whose checkpoints are kept."""
        return list(self._checkpoints())

    def checkpoint(self, step: int | None = None) -> dict[str, dict[str, F64]]:
        """The tensors of a checkpoint, the newest unless `step` says which: by file, such as `theta.average`, and name."""
        kept = self._checkpoints()
        if not kept:
            raise ValueError(f"{self.path} holds no checkpoint yet")
        folder = kept.get(max(kept) if step is None else step)
        if folder is None:
            raise ValueError(f"{self.path} holds no checkpoint of step {step}; those of steps: {', '.join(map(str, kept))}")
        # A player that was never updated has moments of nothing.
        files = (file for file in sorted(folder.glob("*.safetensors")) if not _is_empty(file))
        return {file.stem: load_tensors(file) for file in files}


def load_run(path: str | PathLike[str]) -> Run:
    """The run in a folder.

    Raises:
        FileNotFoundError: a folder without a run.
        ValueError: a configuration or a line of the log that cannot be read.
    """
    folder = Path(path)
    text = folder / "config.toml"
    if not text.is_file():
        raise FileNotFoundError(f"{folder} holds no run: there is no config.toml in it")
    try:
        config = tomllib.loads(text.read_text())
    except tomllib.TOMLDecodeError as reason:
        raise ValueError(f"{text}: {reason}") from reason
    lines = []
    log = folder / "metrics.jsonl"
    if log.is_file():
        for number, line in enumerate(log.read_text().splitlines(), 1):
            try:
                lines.append(json.loads(line))
            except json.JSONDecodeError as reason:
                raise ValueError(f"{log}, line {number}: {reason}") from reason
    return Run(folder, config, lines)


def load_tensors(path: str | PathLike[str]) -> dict[str, F64]:
    """The tensors of a safetensors file, or of what PyTorch saved, as float64; nothing in the file is executed.

    Raises:
        ValueError: a file that is missing, damaged or of another kind, each by name.
    """
    return _sadm.load_tensors(path)


def sample(
    run: str | PathLike[str] | Run,
    count: int,
    *,
    label: int | None = None,
    guidance: float | None = None,
    sampler: str | None = None,
    steps: int | None = None,
    seed: int | None = None,
) -> tuple[F64, list[int | None]]:
    """Images of a run's newest checkpoint, [count, channels, size, size] in about [−1, 1], and the class of each.

    What is None is as configured; without `label` the classes are dealt out in equal shares. Ctrl-C interrupts between two calls of the
    network.

    Raises:
        ValueError: a folder without a checkpoint, a class that was not learnt, an unknown sampler.
    """
    if count < 1:
        raise ValueError(f"count must be at least 1, got {count}")
    folder = run.path if isinstance(run, Run) else run
    return _sadm.sample(folder, count, label, guidance, sampler, steps, seed)


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool)


def _number(value: Any) -> float:
    return float(value) if _is_number(value) else float("nan")


def _is_empty(file: Path) -> bool:
    # The header of a safetensors file is as long as its first eight bytes say.
    with file.open("rb") as opened:
        size = int.from_bytes(opened.read(8), "little")
        header = json.loads(opened.read(size)) if size < 1 << 27 else {"unknown": None}
    return not (header.keys() - {"__metadata__"})
