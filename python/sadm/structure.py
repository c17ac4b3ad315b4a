"""The structural loss with the bounds of its rounding."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, Literal, Sequence, TypedDict

import numpy as np

from . import _sadm, oracle
from ._arrays import F64, ArrayLike, array, dtype_name

Relation = Literal["cosine", "inner-product", "euclidean", "squared-euclidean", "rbf", "laplacian"]
Distance = Literal["squared", "absolute", "huber"]
Diagonal = Literal["include", "exclude"]


class Options(TypedDict, total=False):
    """The keywords of `structural_loss`, for those that hand them on."""

    relation: Relation
    distance: Distance
    eta: float
    diagonal: Diagonal
    bandwidth: float | None
    delta: float | None


@dataclass(frozen=True)
class StructuralLoss:
    """S with its gradients and both affinity matrices."""

    loss: float
    """η/pairs Σ D(M_ij − M̂_ij)."""
    grad_real: F64
    """∂S/∂Ψ, [B, d]."""
    grad_generated: F64
    """∂S/∂Ψ̂, [B, d]."""
    affinity_real: F64
    """M, [B, B]."""
    affinity_generated: F64
    """M̂, [B, B]."""
    _check: str = field(repr=False)
    _case: dict[str, Any] = field(repr=False)

    def bound(self, dtype: Any) -> dict[str, float | F64]:
        """How far `loss`, `grad_real` and `grad_generated` may be from these where they are computed in `dtype`.

        The features are taken as that type holds them. Running error analysis of the reference (SADM, Eq. 5 to 8): |computed − exact| is at
        most this, element by element, whatever the order of the sums.

        Args:
            dtype: "float64", "float32", "tf32", "bfloat16" or "float16", or a dtype of NumPy, PyTorch or JAX.
        """
        found = _sadm.expected(self._check, self._case, dtype_name(dtype))
        return {"loss": float(found["y"][1]), "grad_real": found["grad_real"][1], "grad_generated": found["grad_generated"][1]}


def structural_loss(
    real: ArrayLike,
    generated: ArrayLike,
    *,
    relation: Relation = "cosine",
    distance: Distance = "squared",
    eta: float = 1.0,
    diagonal: Diagonal = "include",
    bandwidth: float | None = None,
    delta: float | None = None,
) -> StructuralLoss:
    """S = η/B² Σ_ij D(M_ij − M̂_ij), or η/(B(B−1)) Σ_{i≠j} without the diagonal; SADM (arXiv 2402.17563), Eq. 5 to 8.

    Args:
        real: Ψ(x_0), [B, d], finite.
        generated: Ψ(x̂), [B, d], finite.
        relation: M_ij = R(ψ_i, ψ_j).
        distance: D.
        eta: η ≥ 0.
        diagonal: whether i = j counts.
        bandwidth: of rbf and laplacian, > 0; 1 unless given.
        delta: of huber, > 0; 1 unless given.

    Raises:
        ValueError: other shapes, numbers that are not finite, a zero row under cosine, an unknown name.
        TypeError: what is no array of real numbers on the CPU.
    """
    psi, psi_hat = array("real", real), array("generated", generated)
    found = oracle.structural_loss(
        psi, psi_hat, relation=relation, bandwidth=bandwidth, distance=distance, delta=delta, eta=eta, diagonal=diagonal
    )
    check, case = question(psi, psi_hat, eta, relation, distance, diagonal, bandwidth, delta)
    return StructuralLoss(
        found.loss, found.grad_real, found.grad_generated, found.affinity_real, found.affinity_generated, check, case
    )


def question(
    psi: F64,
    psi_hat: F64,
    eta: float | Sequence[float] | F64,
    relation: str,
    distance: str,
    diagonal: str,
    bandwidth: float | None,
    delta: float | None,
) -> tuple[str, dict[str, Any]]:
    """The check that judges S, and its case."""
    each = np.broadcast_to(np.asarray(eta, dtype=np.float64), psi.shape[:1])
    case = {
        "real": psi,
        "generated": psi_hat,
        "eta": [float(x) for x in each],
        "diagonal": diagonal,
        "bandwidth": 1.0 if bandwidth is None else float(bandwidth),
        "delta": 1.0 if delta is None else float(delta),
    }
    return f"structural-loss.{relation}.{distance}", case
