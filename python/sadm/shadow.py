"""A live check of somebody else's training loop: its numbers against the reference in float64, under derived error bounds."""

from __future__ import annotations

import math
import warnings
from collections import Counter
from os import PathLike
from pathlib import Path
from typing import Any, Callable, Literal, Sequence

import numpy as np

from . import _sadm
from ._arrays import F64, ArrayLike, array, dtype_name
from .structure import Diagonal, Distance, Relation, question

#: A case of a check, and the numbers that were computed of it.
Question = tuple[str, dict[str, Any], dict[str, F64]]


class ShadowFailure(Exception):
    """A number is further from the reference's than rounding explains."""


class ShadowWarning(UserWarning):
    """The same as a warning."""


class ShadowCheck:
    """Holds numbers of a training loop against the reference.

    Each method takes the inputs of one formula and what the loop made of them; arguments that are None are not judged. Every `every`th
    call of a method (for each `name`), beginning with the first, is judged; the others cost nothing: no tensor is looked at.

    Args:
        every: calls of a method from one judged to the next.
        on_failure: "raise" `ShadowFailure`, or "warn" with `ShadowWarning` and go on.
        dtype: in what the loop computes: "float64", "float32", "tf32" (matrix products of float32 on a GPU), "bfloat16" or
            "float16". Sums of the two last ones are taken to be in float32, as libraries do.
        folder: where the case of a failure is written, for `sadm verify --replay`; nowhere if None.
        copy_from_gpu: whether tensors on a GPU are copied when their call is due; else they are refused.

    Attributes:
        ratios: the largest error/bound of each quantity so far; at most 1 where everything is right.
        failures: what failed, in words.
    """

    def __init__(
        self,
        every: int = 50,
        on_failure: Literal["raise", "warn"] = "raise",
        dtype: Any = "float32",
        folder: str | PathLike[str] | None = None,
        copy_from_gpu: bool = True,
    ) -> None:
        if every < 1:
            raise ValueError(f"every must be at least 1, got {every}")
        if on_failure not in ("raise", "warn"):
            raise ValueError(f'on_failure must be "raise" or "warn", got {on_failure!r}')
        self.every = every
        self.on_failure = on_failure
        self.dtype = dtype_name(dtype)
        self.folder = None if folder is None else Path(folder)
        self.copy_from_gpu = copy_from_gpu
        self.ratios: dict[str, float] = {}
        self.failures: list[str] = []
        self._calls: Counter[str] = Counter()

    @property
    def worst(self) -> float:
        """The largest error/bound of all; 0 if nothing was judged yet."""
        return max(self.ratios.values(), default=0.0)

    def structural(
        self,
        psi: ArrayLike,
        psi_hat: ArrayLike,
        eta: float | Sequence[float] | ArrayLike,
        loss: ArrayLike,
        grad_psi: ArrayLike | None = None,
        grad_psi_hat: ArrayLike | None = None,
        *,
        relation: Relation = "cosine",
        distance: Distance = "squared",
        diagonal: Diagonal = "include",
        bandwidth: float | None = None,
        delta: float | None = None,
    ) -> None:
        """S of features [B, d] with η of each sample or of all, and its gradients; SADM, Eq. 5 to 8."""

        def asked() -> Question:
            real, generated = self._array("psi", psi), self._array("psi_hat", psi_hat)
            check, case = question(real, generated, eta, relation, distance, diagonal, bandwidth, delta)
            return check, case, self._given(y=loss, grad_real=grad_psi, grad_generated=grad_psi_hat)

        self._judge("structural", asked, {"y": "loss", "grad_real": "grad_psi", "grad_generated": "grad_psi_hat"})

    def denoising(
        self, x_hat: ArrayLike, x0: ArrayLike, w: Sequence[float] | ArrayLike, loss: ArrayLike, grad_x_hat: ArrayLike | None = None
    ) -> None:
        """L = Σ_i w_i ‖x̂_i − x_0,i‖² / B of images [B, …] and its gradient; SADM, Eq. 3 and 4."""

        def asked() -> Question:
            case = {"x_hat": self._array("x_hat", x_hat), "x0": self._array("x0", x0), "w": self._list("w", w)}
            return "denoising-loss", case, self._given(y=loss, grad_x_hat=grad_x_hat)

        self._judge("denoising", asked, {"y": "loss"})

    def forward(
        self, x0: ArrayLike, eps: ArrayLike, alpha: Sequence[float] | ArrayLike, sigma: Sequence[float] | ArrayLike, x_t: ArrayLike
    ) -> None:
        """x_t = α_t x_0 + σ_t ε with α and σ of each sample; SADM, Eq. 1."""

        def asked() -> Question:
            case = {
                "x0": self._array("x0", x0),
                "eps": self._array("eps", eps),
                "alpha": self._list("alpha", alpha),
                "sigma": self._list("sigma", sigma),
            }
            return "forward", case, self._given(x_t=x_t)

        self._judge("forward", asked, {})

    def adamw(
        self,
        before: tuple[ArrayLike, ArrayLike, ArrayLike],
        gradient: ArrayLike,
        after: tuple[ArrayLike | None, ArrayLike | None, ArrayLike | None],
        *,
        step: int,
        lr: float,
        betas: tuple[float, float] = (0.9, 0.999),
        eps: float = 1e-8,
        weight_decay: float = 0.01,
        name: str = "",
    ) -> None:
        """One step of AdamW on one parameter (Loshchilov and Hutter, arXiv 1711.05101, Alg. 2; defaults as in PyTorch).

        Args:
            before: the parameter and its two moments before the step; zeros before the first one.
            gradient: as the optimiser was given it, after clipping.
            after: the same three after the step.
            step: number of this step, the first is 1.
            name: of the parameter; each name counts its calls for itself.
        """

        def asked() -> Question:
            theta, m, v = before
            case: dict[str, Any] = {
                "theta": self._array("theta", theta),
                "gradient": self._array("gradient", gradient),
                "m": self._array("m", m),
                "v": self._array("v", v),
                "steps": int(step) - 1,
                "learning_rate": float(lr),
                "beta1": float(betas[0]),
                "beta2": float(betas[1]),
                "epsilon": float(eps),
                "weight_decay": float(weight_decay),
            }
            return "adamw.step", case, self._given(theta=after[0], m=after[1], v=after[2])

        self._judge("adamw", asked, {}, name)

    def ema(self, before: ArrayLike, theta: ArrayLike, after: ArrayLike, *, decay: float, name: str = "") -> None:
        """θ̄ ← β θ̄ + (1 − β) θ with 0 < β < 1."""

        def asked() -> Question:
            if not 0.0 < decay < 1.0:
                raise ValueError(f"decay must be between 0 and 1, got {decay}")
            case: dict[str, Any] = {
                "average": self._array("before", before),
                "theta": self._array("theta", theta),
                # β = 2^(−batch/half-life); so many images were seen that the ramp says nothing.
                "half_life": -math.log(2.0) / math.log(decay),
                "ramp": 1.0,
                "images": 1e300,
                "batch": 1.0,
            }
            return "ema", case, self._given(average=after)

        self._judge("ema", asked, {}, name)

    def learning_rate(
        self, factor: float, *, number: int, total: int, warmup: float = 0.0, decay: Literal["none", "linear", "cosine"] = "cosine"
    ) -> None:
        """Factor of the learning rate at update `number` (from 0) of `total`: up to 1 over the first ⌈warmup · total⌉, then the decay."""

        def asked() -> Question:
            case = {"number": int(number), "total": int(total), "warmup": float(warmup)}
            return f"learning-rate.{decay}", case, self._given(factor=factor)

        self._judge("learning_rate", asked, {})

    def sampler_step(
        self,
        kind: Literal["euler", "heun", "ddim", "ddpm", "dpmpp-2m"],
        z: ArrayLike,
        denoised: ArrayLike,
        result: ArrayLike,
        *,
        sigma: float,
        sigma_next: float,
        denoised_next: ArrayLike | None = None,
        denoised_before: ArrayLike | None = None,
        sigma_before: float | None = None,
        noise: ArrayLike | None = None,
    ) -> None:
        """One step of a sampler from level σ to σ' in z = x_t/α_t; Karras et al. (arXiv 2206.00364), Alg. 1, and others.

        Args:
            denoised: x̂ at z and σ.
            result: z after the step.
            denoised_next: x̂ at Euler's point (heun).
            denoised_before: x̂ of the step before, at `sigma_before` (dpmpp-2m).
            noise: standard normal (ddpm).
        """

        def asked() -> Question:
            needs = {"heun": ["denoised_next"], "ddpm": ["noise"], "dpmpp-2m": ["denoised_before", "sigma_before"]}.get(kind, [])
            given = {"denoised_next": denoised_next, "noise": noise, "denoised_before": denoised_before, "sigma_before": sigma_before}
            for needed in needs:
                if given[needed] is None:
                    raise ValueError(f"{kind} needs {needed}")
            first = self._array("z", z)
            other = denoised_next if kind != "dpmpp-2m" else denoised_before
            case: dict[str, Any] = {
                "z": first,
                "denoised": self._array("denoised", denoised),
                "denoised_next": first if other is None else self._array("denoised_next", other),
                "noise": first if noise is None else self._array("noise", noise),
                "from": float(sigma),
                "to": float(sigma_next),
                "before": float(sigma if sigma_before is None else sigma_before),
            }
            return f"sampler.{kind}", case, self._given(z=result)

        self._judge("sampler_step", asked, {"z": "result"}, kind)

    def _array(self, name: str, value: ArrayLike) -> F64:
        return array(name, value, copy_from_gpu=self.copy_from_gpu)

    def _list(self, name: str, value: ArrayLike) -> list[float]:
        return [float(x) for x in self._array(name, value).ravel()]

    def _given(self, **computed: ArrayLike | None) -> dict[str, F64]:
        return {name: self._array(name, value) for name, value in computed.items() if value is not None}

    def _judge(self, what: str, asked: Callable[[], Question], names: dict[str, str], name: str = "") -> None:
        key = f"{what} {name}".strip()
        self._calls[key] += 1
        call = self._calls[key]
        if (call - 1) % self.every != 0:
            return
        check, case, computed = asked()
        try:
            found = _sadm.hold(check, case, self.dtype, computed)
        except _sadm.Refused as reason:
            # NaN, zero rows: a failure of the loop, not of the check.
            found = [("inputs", math.inf, str(reason))]
        for quantity, ratio, place in found:
            said = f"{key}: {names.get(quantity, quantity)}"
            self.ratios[said] = max(ratio, self.ratios.get(said, 0.0))
            if not ratio <= 1.0:
                self._fail(f"call {call} of {said}: {place}, {ratio:.3g} times the bound", check, case)

    def _fail(self, message: str, check: str, case: dict[str, Any]) -> None:
        if self.folder is not None:
            self.folder.mkdir(parents=True, exist_ok=True)
            path = self.folder / f"shadow-{len(self.failures)}.json"
            _sadm.write_case(path, check, case, self.dtype, message)
            message += f"; the case is in {path}"
        self.failures.append(message)
        if self.on_failure == "raise":
            raise ShadowFailure(message)
        warnings.warn(message, ShadowWarning, stacklevel=4)
