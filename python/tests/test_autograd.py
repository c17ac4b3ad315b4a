"""The operation in PyTorch and JAX, where they are installed."""

from __future__ import annotations

import importlib.util
import unittest

import numpy as np

import sadm


@unittest.skipUnless(importlib.util.find_spec("torch"), "PyTorch is not installed")
class Torch(unittest.TestCase):
    def test_gradients(self) -> None:
        import torch

        import sadm.torch

        torch.manual_seed(3)
        for options in [{}, {"relation": "rbf", "bandwidth": 3.0}, {"relation": "inner-product", "distance": "huber", "delta": 9.0}]:
            features = [torch.randn(4, 3, dtype=torch.float64, requires_grad=True) for _ in range(2)]
            self.assertTrue(torch.autograd.gradcheck(lambda a, b: sadm.torch.structural_loss(a, b, eta=0.3, **options), features))

    def test_types_and_refusals(self) -> None:
        import torch

        import sadm.torch

        psi = torch.randn(4, 3, dtype=torch.bfloat16, requires_grad=True)
        loss = sadm.torch.structural_loss(psi, psi.detach() + 1)
        loss.backward()
        self.assertEqual((loss.dtype, psi.grad.dtype), (torch.bfloat16, torch.bfloat16))
        self.assertEqual(sadm.structural_loss(psi, psi).loss, 0.0)
        with self.assertRaisesRegex(TypeError, "meta"):
            sadm.structural_loss(torch.empty(4, 3, device="meta"), psi)
        twice = torch.randn(4, 3, dtype=torch.float64, requires_grad=True)
        (gradient,) = torch.autograd.grad(sadm.torch.structural_loss(twice, twice.detach() + 1), twice, create_graph=True)
        with self.assertRaises(RuntimeError):
            gradient.sum().backward()


@unittest.skipUnless(importlib.util.find_spec("jax"), "JAX is not installed")
class Jax(unittest.TestCase):
    def test_gradients(self) -> None:
        import jax

        import sadm.jax

        random = np.random.default_rng(3)
        psi, psi_hat = (random.standard_normal((4, 3)).astype(np.float32) for _ in range(2))
        want = sadm.structural_loss(psi, psi_hat, eta=0.3)
        function = jax.jit(jax.value_and_grad(lambda a, b: sadm.jax.structural_loss(a, b, eta=0.3), argnums=(0, 1)))
        loss, (real, generated) = function(psi, psi_hat)
        self.assertEqual(float(loss), np.float32(want.loss))
        np.testing.assert_array_equal(real, want.grad_real.astype(np.float32))
        np.testing.assert_array_equal(generated, want.grad_generated.astype(np.float32))


if __name__ == "__main__":
    unittest.main()
