"""The live check: right numbers pass, each planted mistake is caught by name, and nothing is looked at in between."""

from __future__ import annotations

import tempfile
import unittest
import warnings
from pathlib import Path
from typing import Any, Callable

import numpy as np

import sadm

F32 = np.float32


def normal(seed: int, *shape: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(F32)


def structure(psi: np.ndarray, psi_hat: np.ndarray, eta: float) -> tuple[Any, ...]:
    """S of inner products with its gradients, in float32."""
    count = len(psi)
    difference = psi @ psi.T - psi_hat @ psi_hat.T
    scale = F32(eta / count**2)
    return scale * np.sum(difference**2, dtype=F32), 4 * scale * difference @ psi, -4 * scale * difference @ psi_hat


def adamw(theta: np.ndarray, g: np.ndarray, m: np.ndarray, v: np.ndarray, step: int, lr: float, decay: float) -> tuple[Any, ...]:
    m = F32(0.9) * m + F32(0.1) * g
    v = F32(0.999) * v + F32(0.001) * g * g
    root = np.sqrt(v) / F32(np.sqrt(1 - 0.999**step)) + F32(1e-8)
    return theta * F32(1 - lr * decay) - F32(lr / (1 - 0.9**step)) * m / root, m, v


class RightNumbers(unittest.TestCase):
    def test_they_pass_and_are_counted(self) -> None:
        check = sadm.ShadowCheck(every=1)
        psi, psi_hat, eta = normal(1, 6, 5), normal(2, 6, 5), 0.5
        loss, real, generated = structure(psi, psi_hat, eta)
        check.structural(psi, psi_hat, eta, loss, real, generated, relation="inner-product")
        x0, eps = normal(3, 4, 1, 3, 3), normal(4, 4, 1, 3, 3)
        alpha, sigma = [0.9, 0.8, 0.7, 0.6], [0.1, 0.2, 0.3, 0.4]
        scale = [np.array(x, F32).reshape(-1, 1, 1, 1) for x in (alpha, sigma)]
        x_t = scale[0] * x0 + scale[1] * eps
        check.forward(x0, eps, alpha, sigma, x_t)
        w = [1.0, 2.0, 3.0, 4.0]
        weights = np.array(w, F32).reshape(-1, 1, 1, 1)
        check.denoising(x_t, x0, w, np.sum(weights * (x_t - x0) ** 2, dtype=F32) / F32(4), 2 * weights * (x_t - x0) / F32(4))
        theta, g, m, v = normal(5, 3, 4), normal(6, 3, 4), normal(7, 3, 4), normal(8, 3, 4) ** 2
        after = adamw(theta, g, m, v, 7, 1e-2, 0.1)
        check.adamw((theta, m, v), g, after, step=7, lr=1e-2, weight_decay=0.1)
        check.ema(theta, after[0], theta + F32(1 - 0.99) * (after[0] - theta), decay=0.99)
        check.learning_rate(0.5 * (1 + np.cos(np.pi * 3 / 10)), number=3, total=10)
        z, denoised = normal(9, 2, 1, 3, 3), normal(10, 2, 1, 3, 3)
        check.sampler_step("euler", z, denoised, z + F32(0.5 - 2.0) * (z - denoised) / F32(2.0), sigma=2.0, sigma_next=0.5)
        self.assertEqual(check.failures, [])
        self.assertEqual(len(check.ratios), 3 + 1 + 2 + 3 + 1 + 1 + 1, check.ratios)
        self.assertGreater(check.worst, 0.0)
        self.assertLessEqual(check.worst, 1.0)

    def test_between_two_looks_nothing_is_looked_at(self) -> None:
        check = sadm.ShadowCheck(every=3)
        loss, real, generated = structure(normal(1, 6, 5), normal(2, 6, 5), 1.0)
        for call in range(7):
            if call % 3 == 0:
                check.structural(normal(1, 6, 5), normal(2, 6, 5), 1.0, loss, real, generated, relation="inner-product")
            else:
                check.structural(object(), object(), object(), object())
        self.assertEqual(len(check.ratios), 3)


class Mistakes(unittest.TestCase):
    def planted(self, part: str, call: Callable[[sadm.ShadowCheck], None]) -> None:
        with tempfile.TemporaryDirectory() as folder, self.subTest(part):
            with self.assertRaisesRegex(sadm.ShadowFailure, part) as raised:
                call(sadm.ShadowCheck(every=1, folder=folder))
            self.assertIn("shadow-0.json", str(raised.exception))
            self.assertTrue((Path(folder) / "shadow-0.json").is_file())
            check = sadm.ShadowCheck(every=1, on_failure="warn")
            with warnings.catch_warnings(record=True) as caught:
                warnings.simplefilter("always")
                call(check)
            self.assertTrue(any(issubclass(w.category, sadm.ShadowWarning) for w in caught))
            self.assertTrue(check.failures)
            self.assertGreater(check.worst, 1.0)

    def test_structure(self) -> None:
        psi, psi_hat = normal(1, 6, 5), normal(2, 6, 5)
        loss, real, generated = structure(psi, psi_hat, 0.5)

        def held(*numbers: Any, **options: Any) -> Callable[[sadm.ShadowCheck], None]:
            return lambda check: check.structural(psi, psi_hat, 0.5, *numbers, relation="inner-product", **options)

        self.planted("structural: loss", held(0.5 * loss))
        self.planted("structural: grad_psi_hat", held(loss, real, generated + real))
        self.planted("structural: grad_psi", held(loss, np.zeros_like(real), generated))
        self.planted("structural: loss", held(loss, diagonal="exclude"))
        half = psi.astype(np.float16)
        other = psi_hat.astype(np.float16)
        coarse = np.float16(0.5 / 36) * np.sum((half @ half.T - other @ other.T) ** 2, dtype=np.float16)
        self.planted("structural: loss", held(coarse))

    def test_updates(self) -> None:
        theta, g, m, v = normal(5, 3, 4), normal(6, 3, 4), normal(7, 3, 4), normal(8, 3, 4) ** 2
        after = adamw(theta, g, m, v, 7, 1e-2, 0.1)
        other = adamw(theta, g, m, v, 8, 1e-2, 0.1)
        self.planted("adamw.*theta", lambda check: check.adamw((theta, m, v), g, (other[0], m, v)[:1] + (None, None), step=7, lr=1e-2, weight_decay=0.1))
        self.planted("adamw.*m", lambda check: check.adamw((theta, m, v), 2 * g, (None, after[1], None), step=7, lr=1e-2, weight_decay=0.1))
        self.planted("ema", lambda check: check.ema(theta, after[0], after[0], decay=0.999))
        self.planted("learning_rate", lambda check: check.learning_rate(0.5 * (1 + np.cos(np.pi * 4 / 10)), number=3, total=10))

    def test_what_the_reference_has_no_number_for_fails(self) -> None:
        zeros = np.zeros((4, 3), F32)
        with self.assertRaisesRegex(sadm.ShadowFailure, "structural: inputs"):
            sadm.ShadowCheck().structural(zeros, zeros, 1.0, 0.0)
        with self.assertRaises(TypeError):
            sadm.ShadowCheck().structural("psi", zeros, 1.0, 0.0)
        for wrong in [{"every": 0}, {"on_failure": "stop"}, {"dtype": "int8"}]:
            with self.assertRaises(ValueError):
                sadm.ShadowCheck(**wrong)


if __name__ == "__main__":
    unittest.main()
