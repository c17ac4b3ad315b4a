"""Arrays of any library as NumPy's float64 in C order; what cannot be one is refused by name."""

from __future__ import annotations

from typing import Any, Mapping

import numpy as np
from numpy.typing import NDArray

F64 = NDArray[np.float64]
#: Anything that NumPy makes an array of: its own, PyTorch's or JAX's on the CPU, lists of numbers.
ArrayLike = Any

#: Element types by the names of array libraries, and as the checks call them.
DTYPES = {"float64": "f64", "float32": "f32", "tf32": "tf32", "bfloat16": "bf16", "float16": "f16"}


def array(name: str, value: ArrayLike, *, copy_from_gpu: bool = False) -> F64:
    """`value` as float64 in C order: itself where it is that already.

    Raises:
        TypeError: objects, strings or complex numbers; a tensor on a GPU, unless it may be copied.
    """
    if type(value).__module__.partition(".")[0] == "torch":
        value = _of_torch(name, value, copy_from_gpu)
    try:
        found = np.asarray(value)
    except (TypeError, ValueError, RuntimeError) as reason:
        raise TypeError(f"`{name}` must be an array of numbers, got {type(value).__name__}: {reason}") from reason
    # `V` is how NumPy calls the types of other packages, such as JAX's bfloat16.
    if found.dtype.kind not in "fiubV" or (found.dtype.kind == "V" and found.dtype.names is not None):
        raise TypeError(f"`{name}` must hold real numbers, got {found.dtype}")
    try:
        return np.ascontiguousarray(found, dtype=np.float64).reshape(found.shape)
    except (TypeError, ValueError) as reason:
        raise TypeError(f"`{name}` must hold real numbers, got {found.dtype}") from reason


def _of_torch(name: str, value: Any, copy_from_gpu: bool) -> Any:
    if not hasattr(value, "detach"):
        return value
    value = value.detach()
    if value.device.type != "cpu":
        if not copy_from_gpu:
            raise TypeError(f"`{name}` is on {value.device}, and nothing is copied from there unasked: pass `{name}.cpu()`")
        value = value.cpu()
    if value.layout != _strided():
        raise TypeError(f"`{name}` must be dense, got {value.layout}")
    if value.is_complex():
        raise TypeError(f"`{name}` must hold real numbers, got {value.dtype}")
    return value.double().numpy()


def _strided() -> Any:
    import torch

    return torch.strided


def arrays(values: Mapping[str, ArrayLike]) -> dict[str, F64]:
    """Those that are given, not None."""
    return {name: array(name, value) for name, value in values.items() if value is not None}


def dtype_name(dtype: Any) -> str:
    """The name of an element type in the checks: of a word, a NumPy dtype, PyTorch's or JAX's.

    Raises:
        ValueError: a type that no check is judged in.
    """
    word = str(getattr(dtype, "name", dtype)).removeprefix("torch.")
    if isinstance(dtype, type):
        word = np.dtype(dtype).name
    if word not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {word!r}")
    return DTYPES[word]
