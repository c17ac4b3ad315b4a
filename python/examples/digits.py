"""A small diffusion model of somebody else, in PyTorch, with `sadm.ShadowCheck` on its loop.

    python digits.py                      trains on the digits, checked every 50 steps
    python digits.py --bug eta-twice      with a planted mistake, which the check must find
    python digits.py --overhead           what the check costs, in a run with it and one without

Needs NumPy, PyTorch and `sadm`. The loop below knows nothing of this project: its losses, its gradients, its average and its
learning rate are its own, as anybody writes them.
"""

from __future__ import annotations

import argparse
import math
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn

import sadm

DIGITS = Path(__file__).parents[2] / "fixtures" / "digits.csv.gz"
BATCH, DIM, STEPS, RATE, ETA, DECAY = 64, 64, 200, 1e-3, 0.5, 0.99
BUGS = (
    "eta-twice",
    "transposed-gradient",
    "missing-diagonal",
    "detached-branch",
    "wrong-ema",
    "learning-rate-off-by-one",
    "half-precision",
)


class Denoiser(nn.Module):
    """x̂_0 of x_t = (1 − t) x_0 + t ε."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Conv2d(2, width, 3, padding=1), nn.Conv2d(width, 1, 3, padding=1)
        self.middle = nn.ModuleList(nn.Conv2d(width, width, 3, padding=1) for _ in range(4))

    def forward(self, x: Tensor, t: Tensor) -> Tensor:
        h = self.first(torch.cat([x, t.view(-1, 1, 1, 1).expand_as(x)], 1))
        for layer in self.middle:
            h = h + layer(nn.functional.silu(h))
        out: Tensor = self.last(nn.functional.silu(h))
        return out


class Transposed(torch.autograd.Function):
    """Passes a matrix on, and its gradient turned round."""

    @staticmethod
    def forward(ctx: object, x: Tensor) -> Tensor:
        return x.clone()

    @staticmethod
    def backward(ctx: object, gradient: Tensor) -> Tensor:
        return gradient.T.contiguous()


def structure(psi: Tensor, psi_hat: Tensor, bug: str) -> Tensor:
    """η/B² Σ_ij (cos(ψ_i, ψ_j) − cos(ψ̂_i, ψ̂_j))²: the loop's own."""
    if bug == "transposed-gradient":
        psi_hat = Transposed.apply(psi_hat)
    if bug == "detached-branch":
        psi_hat = psi_hat.detach()
    if bug == "half-precision":
        psi, psi_hat = psi.bfloat16(), psi_hat.bfloat16()
    rows = [nn.functional.normalize(x, dim=1) for x in (psi, psi_hat)]
    squares = (rows[0] @ rows[0].T - rows[1] @ rows[1].T) ** 2
    if bug == "missing-diagonal":
        # The sum over i ≠ j is the same under the cosine; the number of pairs is not.
        return ETA * squares.sum() / (BATCH * (BATCH - 1))
    return (ETA * ETA if bug == "eta-twice" else ETA) * squares.mean().float()


def rate_of(number: int) -> float:
    """Up over the first tenth, then half a cosine."""
    warmup = math.ceil(0.1 * STEPS)
    if number < warmup:
        return (number + 1) / warmup
    return 0.5 * (1 + math.cos(math.pi * (number - warmup) / (STEPS - warmup)))


class Loop:
    """A model, what trains it, and its next step."""

    def __init__(self, width: int, bug: str = "") -> None:
        torch.manual_seed(0)
        images = np.loadtxt(DIGITS, delimiter=",", dtype=np.float32)[:, :64]
        self.images = torch.tensor(images / 8 - 1).view(-1, 1, 8, 8)
        self.model, self.bug = Denoiser(width), bug
        self.features = nn.Sequential(nn.Flatten(), nn.Linear(64, DIM), nn.Tanh(), nn.Linear(DIM, DIM))
        self.average = {name: p.detach().clone() for name, p in self.model.named_parameters()}
        self.optimizer = torch.optim.AdamW(self.model.parameters(), lr=RATE)
        self.number = 0

    def step(self, check: sadm.ShadowCheck | None) -> float:
        """One step; the check is shown what the loop made, formula by formula."""
        x0 = self.images[torch.randint(len(self.images), (BATCH,))]
        t, noise = 0.02 + 0.96 * torch.rand(BATCH), torch.randn_like(x0)
        x_t = (1 - t).view(-1, 1, 1, 1) * x0 + t.view(-1, 1, 1, 1) * noise
        x_hat = self.model(x_t, t)
        psi = self.features(x0).detach().requires_grad_()
        psi_hat = self.features(x_hat)
        for kept in (x_hat, psi_hat):
            kept.retain_grad()
        weights = torch.full((BATCH,), 1 / 64)
        denoising = (weights * (x_hat - x0).square().flatten(1).sum(1)).mean()
        grad_x_hat = torch.autograd.grad(denoising, x_hat, retain_graph=True)[0]
        likeness = structure(psi, psi_hat, self.bug)
        self.optimizer.zero_grad()
        (denoising + likeness).backward()

        factor = rate_of(self.number + 1 if self.bug == "learning-rate-off-by-one" else self.number)
        for group in self.optimizer.param_groups:
            group["lr"] = RATE * factor
        name, parameter = "last.weight", self.model.last.weight
        moments = self.optimizer.state[parameter]
        zeros = torch.zeros_like(parameter)
        before = parameter.detach().clone(), *(moments.get(key, zeros).clone() for key in ("exp_avg", "exp_avg_sq"))
        self.optimizer.step()
        self.number += 1
        old = self.average[name].clone()
        with torch.no_grad():
            share = DECAY if self.bug == "wrong-ema" else 1 - DECAY
            for key, p in self.model.named_parameters():
                self.average[key].lerp_(p, share)

        if check is not None:
            check.forward(x0, noise, 1 - t, t, x_t)
            check.denoising(x_hat, x0, weights, denoising, grad_x_hat)
            none = torch.zeros_like(psi)
            grads = (none if x.grad is None else x.grad for x in (psi, psi_hat))
            check.structural(psi, psi_hat, ETA, likeness, *grads)
            check.learning_rate(factor, number=self.number - 1, total=STEPS, warmup=0.1)
            moments = self.optimizer.state[parameter]
            after = parameter, moments["exp_avg"], moments["exp_avg_sq"]
            check.adamw(before, parameter.grad, after, step=self.number, lr=RATE * factor)
            check.ema(old, parameter, self.average[name], decay=DECAY)
        return float(denoising.detach())


def found(bug: str) -> str | None:
    """What the check says of a loop with this mistake."""
    try:
        Loop(8, bug).step(sadm.ShadowCheck(every=50))
    except sadm.ShadowFailure as failure:
        return str(failure)
    return None


def seconds(loop: Loop, check: Callable[[], sadm.ShadowCheck | None]) -> float:
    """Of 50 steps, of which one is judged."""
    begun, judge = time.perf_counter(), check()
    for _ in range(50):
        loop.step(judge)
    return time.perf_counter() - begun


def overhead(rounds: int) -> None:
    """Rounds with the check and without it, in turns."""
    loop = Loop(64)
    loop.step(sadm.ShadowCheck())
    ways: tuple[Callable[[], sadm.ShadowCheck | None], ...] = (lambda: None, lambda: sadm.ShadowCheck(every=50))
    plain, checked = zip(*([seconds(loop, way) for way in ways] for _ in range(rounds)))
    a, b = statistics.median(plain), statistics.median(checked)
    print(f"{rounds} rounds of 50 steps: {1e3 * a / 50:.2f} ms a step, {1e3 * b / 50:.2f} ms checked: {100 * (b / a - 1):+.2f} %")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bug", choices=BUGS, default="", help="a mistake to plant")
    parser.add_argument("--overhead", action="store_true", help="measure what the check costs")
    parser.add_argument("--rounds", type=int, default=9, help="of --overhead")
    asked = parser.parse_args()
    if asked.overhead:
        overhead(asked.rounds)
        return
    check = sadm.ShadowCheck(every=50)
    loop = Loop(64, asked.bug)
    for number in range(STEPS):
        loss = loop.step(check)
        if number % 50 == 49:
            print(f"step {number + 1}: loss {loss:.3f}, error/bound at most {check.worst:.3f}")


if __name__ == "__main__":
    main()
