"""The oracle's quantities on arrays: numbers, types, refusals."""

from __future__ import annotations

import inspect
import subprocess
import sys
import threading
import unittest
from pathlib import Path

import numpy as np

import sadm
from sadm import _sadm, oracle

PYTHON = Path(__file__).parents[1]


def rows(seed: int, count: int = 5, width: int = 7) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, width))


class Quantities(unittest.TestCase):
    def test_every_quantity_is_a_function_as_the_registry_says(self) -> None:
        for quantity in _sadm.quantities():
            function = getattr(oracle, quantity["name"].replace("-", "_"))
            parameters = inspect.signature(function).parameters
            named = [name.rstrip("_") for name in parameters]
            ports = [port for port, _ in quantity["inputs"] + quantity["optional"]]
            self.assertEqual(named, ports + [option["name"] for option in quantity["options"]])
            self.assertIn(quantity["formula"][0], function.__doc__ or "")
            self.assertTrue(hasattr(sadm, function.__name__))

    def test_the_written_file_is_what_would_be_written(self) -> None:
        self.assertEqual(subprocess.run([sys.executable, PYTHON / "generate.py", "--check"]).returncode, 0)

    def test_structural_loss_is_its_formula(self) -> None:
        psi, psi_hat = rows(1), rows(2)
        found = sadm.structural_loss(psi, psi_hat, relation="inner-product", eta=0.5)
        m, m_hat = psi @ psi.T, psi_hat @ psi_hat.T
        self.assertAlmostEqual(found.loss, 0.5 * np.mean((m - m_hat) ** 2), places=12)
        np.testing.assert_allclose(found.affinity_real, m, rtol=1e-14)
        # ∂/∂Ψ of η/B² Σ (M − M̂)² is 4 η/B² (M − M̂) Ψ.
        np.testing.assert_allclose(found.grad_real, 4 * 0.5 / 25 * (m - m_hat) @ psi, rtol=1e-12)
        np.testing.assert_allclose(found.grad_generated, -4 * 0.5 / 25 * (m - m_hat) @ psi_hat, rtol=1e-12)

    def test_bounds_hold_what_a_type_computes_and_little_more(self) -> None:
        psi, psi_hat = rows(3).astype(np.float32), rows(4).astype(np.float32)
        found = sadm.structural_loss(psi, psi_hat, relation="inner-product")
        m, m_hat = psi @ psi.T, psi_hat @ psi_hat.T
        error = abs(float(np.mean((m - m_hat) ** 2)) - found.loss)
        single, half = found.bound(np.float32), found.bound("bfloat16")
        self.assertLess(error, single["loss"])
        self.assertLess(single["loss"], 1e-4 * found.loss)
        self.assertLess(found.bound("float64")["loss"], 1e-8 * single["loss"])
        self.assertGreater(np.max(half["grad_real"]), 10 * np.max(single["grad_real"]))

    def test_scalars_and_options(self) -> None:
        levels = sadm.edm_sigmas(steps=3, sigma_min=0.5, sigma_max=2.0, rho=1.0)
        np.testing.assert_allclose(levels.sigmas, [2.0, 1.25, 0.5, 0.0], rtol=1e-14)
        self.assertIsInstance(sadm.frechet(rows(1, 30, 3), rows(2, 30, 3)).frechet, float)
        with self.assertWarnsRegex(UserWarning, "3 and 30 samples do not suffice"):
            sadm.frechet(rows(1, 3, 3), rows(2, 30, 3))


class Inputs(unittest.TestCase):
    def test_any_real_type_and_layout(self) -> None:
        psi, other = rows(5), rows(6)
        want = sadm.structural_loss(psi, other).loss
        wide = np.zeros((10, 14))
        wide[::2, ::2] = psi
        frozen = psi.copy()
        frozen.flags.writeable = False
        for same in [np.asfortranarray(psi), wide[::2, ::2], psi[::-1][::-1], frozen, psi.tolist()]:
            self.assertEqual(sadm.structural_loss(same, other).loss, want)
        whole = np.arange(12).reshape(3, 4)
        self.assertEqual(
            sadm.structural_loss(whole + 1, whole + 2).loss, sadm.structural_loss(whole + 1.0, whole + 2.0).loss
        )
        # One row repeated without being copied.
        stuck = np.broadcast_to(psi[0], psi.shape)
        self.assertEqual(sadm.structural_loss(stuck, stuck).loss, 0.0)

    def test_bad_input_is_refused_by_name(self) -> None:
        good = rows(7)
        nan = good.copy()
        nan[1, 2] = np.nan
        cases = [
            (ValueError, "generated.*shape", lambda: sadm.structural_loss(good, good[:3])),
            (ValueError, r"real.*NaN.*\[1, 2\]", lambda: sadm.structural_loss(nan, good)),
            (ValueError, "empty", lambda: sadm.structural_loss(good[:0], good[:0])),
            (ValueError, "cosine.*did you mean", lambda: sadm.structural_loss(good, good, relation="cosin")),
            (ValueError, "bandwidth.*only with", lambda: sadm.structural_loss(good, good, bandwidth=2.0)),
            (ValueError, "steps.*whole number", lambda: sadm.edm_sigmas(steps=0)),
            (ValueError, "row|zero", lambda: sadm.structural_loss(0.0 * good, good)),
            (TypeError, "real.*numbers", lambda: sadm.structural_loss(np.array([[object()]]), good)),
            (TypeError, "real.*complex", lambda: sadm.structural_loss(good.astype(complex), good)),
            (TypeError, "real.*str|<U", lambda: sadm.structural_loss(np.array([["a"]]), good)),
            (TypeError, "real", lambda: sadm.structural_loss([[1.0], [1.0, 2.0]], good)),
            (ValueError, "dtype must be one of", lambda: sadm.structural_loss(good, good).bound("int8")),
        ]
        for kind, message, call in cases:
            with self.subTest(message), self.assertRaisesRegex(kind, message):
                call()

    def test_other_threads_go_on(self) -> None:
        psi, other = rows(8, 256, 2048), rows(9, 256, 2048)
        done = threading.Event()
        ticks = 0
        thread = threading.Thread(target=lambda: (sadm.structural_loss(psi, other), done.set()))
        thread.start()
        while not done.wait(0.001):
            ticks += 1
        thread.join()
        self.assertGreater(ticks, 1)

    @unittest.skipUnless(Path("/proc/self/status").exists(), "the peak of memory is Linux's")
    def test_inputs_are_not_copied(self) -> None:
        code = """
import numpy as np, sadm
def peak():
    return next(int(line.split()[1]) / 1024 for line in open("/proc/self/status") if line.startswith("VmHWM"))
a, b = np.random.default_rng(0).standard_normal((2, 1_000_000, 8))
sadm.frechet(a[:99], b[:99])
before = peak()
sadm.frechet(a, b)
print(peak() - before)
"""
        found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
        self.assertEqual(found.returncode, 0, found.stderr)
        # Each of the two has 61 MiB.
        self.assertLess(float(found.stdout), 45.0)


if __name__ == "__main__":
    unittest.main()
