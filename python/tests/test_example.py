"""The example of a loop in PyTorch, where that is installed: right as it stands, and each planted mistake is found where it was made."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
import unittest
from pathlib import Path

import sadm

EXAMPLES = Path(__file__).parents[1] / "examples"
#: Which formula a mistake is charged to.
CHARGED = {
    "eta-twice": "structural",
    "transposed-gradient": "structural: grad_psi_hat",
    "missing-diagonal": "structural",
    "detached-branch": "structural: grad_psi_hat",
    "wrong-ema": "ema: average",
    "learning-rate-off-by-one": "learning_rate: factor",
    "half-precision": "structural",
}


@unittest.skipUnless(importlib.util.find_spec("torch"), "PyTorch is not installed")
class Example(unittest.TestCase):
    def setUp(self) -> None:
        sys.path.insert(0, str(EXAMPLES))
        self.addCleanup(sys.path.remove, str(EXAMPLES))

    def test_the_loop_is_right(self) -> None:
        import digits

        check = sadm.ShadowCheck(every=1)
        loop = digits.Loop(8)
        for _ in range(5):
            loop.step(check)
        self.assertFalse(check.failures)
        methods = {quantity.split(":")[0] for quantity in check.ratios}
        self.assertEqual(methods, {"forward", "denoising", "structural", "learning_rate", "adamw", "ema"})
        self.assertTrue(0 < check.worst <= 1)

    def test_each_mistake_is_found(self) -> None:
        import digits

        self.assertEqual(set(CHARGED), set(digits.BUGS))
        for bug, where in CHARGED.items():
            with self.subTest(bug):
                said = digits.found(bug)
                self.assertIsNotNone(said)
                self.assertIn(where, said or "")

    def test_what_the_book_types(self) -> None:
        def typed(*arguments: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run([sys.executable, str(EXAMPLES / "digits.py"), *arguments], capture_output=True, text=True)

        trained = typed()
        self.assertEqual(trained.returncode, 0, trained.stderr)
        self.assertIn("step 200: loss", trained.stdout)
        refused = typed("--bug", "eta-twice")
        self.assertEqual(refused.returncode, 1)
        self.assertIn("ShadowFailure: call 1 of structural", refused.stderr)
        measured = typed("--overhead", "--rounds", "1")
        self.assertIn("ms checked", measured.stdout, measured.stderr)


if __name__ == "__main__":
    unittest.main()
