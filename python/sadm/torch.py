"""The structural loss as an operation of PyTorch's autograd, computed by the reference in float64 on the CPU."""

from __future__ import annotations

from typing import Any, Unpack

import torch
from torch.autograd.function import once_differentiable

from . import structure
from .structure import Options


class _StructuralLoss(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, psi: torch.Tensor, psi_hat: torch.Tensor, options: Options) -> torch.Tensor:
        found = structure.structural_loss(psi, psi_hat, **options)
        ctx.save_for_backward(psi.new_tensor(found.grad_real), psi.new_tensor(found.grad_generated))
        return psi.new_tensor(found.loss)

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, gradient: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, None]:
        real, generated = ctx.saved_tensors
        return gradient * real, gradient * generated, None


def structural_loss(psi: torch.Tensor, psi_hat: torch.Tensor, **options: Unpack[Options]) -> torch.Tensor:
    """S of two batches of features [B, d] on the CPU, to be differentiated once; keywords as of `sadm.structural_loss`.

    The loss and its gradients are exact to float64's rounding and rounded once to the dtype of `psi`.
    """
    loss: torch.Tensor = _StructuralLoss.apply(psi, psi_hat, options)
    return loss
