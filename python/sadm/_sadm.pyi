"""Types of the native part; see `python/src/lib.rs`."""

from os import PathLike
from typing import Any, Mapping, TypedDict

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
Port = tuple[str, list[str]]

class Option(TypedDict):
    name: str
    kind: str
    words: list[str]
    domain: str
    default: str
    only_with: tuple[str, list[str]] | None

class Quantity(TypedDict):
    name: str
    formula: list[str]
    inputs: list[Port]
    optional: list[Port]
    outputs: list[Port]
    options: list[Option]

class Refused(ValueError): ...

__version__: str

def quantities() -> list[Quantity]: ...
def oracle(
    name: str, tensors: Mapping[str, F64], options: Mapping[str, str]
) -> tuple[dict[str, Any], str | None]: ...
def checks() -> list[tuple[str, str, str]]: ...
def expected(check: str, case: dict[str, Any], dtype: str) -> dict[str, tuple[F64, F64]]: ...
def hold(
    check: str, case: dict[str, Any], dtype: str, computed: Mapping[str, F64]
) -> list[tuple[str, float, str]]: ...
def write_case(path: str | PathLike[str], check: str, case: dict[str, Any], dtype: str, message: str) -> None: ...
def load_tensors(path: str | PathLike[str]) -> dict[str, F64]: ...
def sample(
    run: str | PathLike[str],
    count: int,
    class_: int | None,
    guidance: float | None,
    sampler: str | None,
    steps: int | None,
    seed: int | None,
) -> tuple[F64, list[int | None]]: ...
