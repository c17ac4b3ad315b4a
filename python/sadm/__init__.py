"""The exact reference of structure-guided diffusion training, its error bounds, and a live check for anybody's training loop.

>>> import numpy as np, sadm
>>> psi = np.array([[1.0, 0.0], [0.0, 1.0]])
>>> found = sadm.structural_loss(psi, psi[:, ::-1])
>>> found.loss
0.0
>>> found.bound("float32")["loss"] < 1e-6
True

Every quantity of `sadm oracle` is a function here; `sadm.oracle` has them all. `sadm.torch` and `sadm.jax` need those packages.
"""

from . import oracle
from ._sadm import __version__, checks
from .oracle import *  # noqa: F403
from .runs import Run, load_run, load_tensors, sample
from .shadow import ShadowCheck, ShadowFailure, ShadowWarning
from .structure import StructuralLoss, structural_loss

__all__ = [
    "Run",
    "ShadowCheck",
    "ShadowFailure",
    "ShadowWarning",
    "StructuralLoss",
    "__version__",
    "checks",
    "load_run",
    "load_tensors",
    "sample",
    "structural_loss",
    *oracle.__all__,
]
