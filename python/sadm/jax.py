"""The structural loss as a function that JAX differentiates, computed by the reference in float64 on the CPU."""

from __future__ import annotations

from functools import partial
from typing import Any, Unpack

import jax
import jax.numpy as jnp
import numpy as np

from . import structure
from .structure import Options

#: Options as JAX can tell one call from another.
Pairs = tuple[tuple[str, Any], ...]


def _computed(options: Pairs, psi: Any, psi_hat: Any) -> tuple[Any, Any, Any]:
    def reference(real: Any, generated: Any) -> tuple[Any, Any, Any]:
        found = structure.structural_loss(np.asarray(real), np.asarray(generated), **dict(options))
        own = real.dtype
        return np.asarray(found.loss, own), found.grad_real.astype(own), found.grad_generated.astype(own)

    shapes = (jax.ShapeDtypeStruct((), psi.dtype), jax.ShapeDtypeStruct(psi.shape, psi.dtype), jax.ShapeDtypeStruct(psi.shape, psi.dtype))
    found: tuple[Any, Any, Any] = jax.pure_callback(reference, shapes, psi, psi_hat)
    return found


@partial(jax.custom_vjp, nondiff_argnums=(0,))
def _structural_loss(options: Pairs, psi: Any, psi_hat: Any) -> Any:
    return _computed(options, psi, psi_hat)[0]


def _forward(options: Pairs, psi: Any, psi_hat: Any) -> tuple[Any, tuple[Any, Any]]:
    loss, real, generated = _computed(options, psi, psi_hat)
    return loss, (real, generated)


def _backward(options: Pairs, saved: tuple[Any, Any], gradient: Any) -> tuple[Any, Any]:
    real, generated = saved
    return gradient * real, gradient * generated


_structural_loss.defvjp(_forward, _backward)


def structural_loss(psi: Any, psi_hat: Any, **options: Unpack[Options]) -> Any:
    """S of two batches of features [B, d], to be differentiated once; keywords as of `sadm.structural_loss`. Works under `jit`."""
    return _structural_loss(tuple(options.items()), jnp.asarray(psi), jnp.asarray(psi_hat))
