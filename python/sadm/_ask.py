"""Questions to the oracle."""

from __future__ import annotations

import warnings
from typing import Any, Mapping

from . import _sadm
from ._arrays import ArrayLike, arrays


def ask(name: str, tensors: Mapping[str, ArrayLike], options: Mapping[str, str | float | int | None]) -> dict[str, Any]:
    """The outputs of a quantity; what is None is not given."""
    said = {key: value if isinstance(value, str) else repr(_number(key, value)) for key, value in options.items() if value is not None}
    outputs, note = _sadm.oracle(name, arrays(tensors), said)
    if note is not None:
        warnings.warn(f"{name}: {note}", stacklevel=3)
    return outputs


def _number(key: str, value: float | int) -> float | int:
    if isinstance(value, bool):
        raise TypeError(f"option `{key}` must be a number, got {value}")
    if hasattr(value, "__index__"):
        return value.__index__()
    try:
        return float(value)
    except (TypeError, ValueError) as reason:
        raise TypeError(f"option `{key}` must be a number, got {value!r}") from reason
