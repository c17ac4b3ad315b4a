"""Runs of `sadm train`, read: the small one of `fixtures`, and files that are no run's."""

from __future__ import annotations

import shutil
import tempfile
import unittest
from pathlib import Path

import numpy as np

import sadm

RUN = Path(__file__).parents[2] / "fixtures" / "run-format-1"


class Runs(unittest.TestCase):
    def test_configuration_metrics_and_checkpoint(self) -> None:
        run = sadm.load_run(RUN)
        self.assertIn("train", run.config)
        self.assertEqual(run.steps, [8])
        losses = run.metrics("denoise")["loss"]
        lines = [line for line in run.lines if line["phase"] == "denoise"]
        self.assertEqual(losses.tolist(), [line["loss"] for line in lines])
        accuracy = run.metrics()["accuracy"]
        self.assertEqual(np.isfinite(accuracy).sum(), 1)
        files = run.checkpoint()
        self.assertEqual(files["model"].keys(), files["ema"].keys())
        self.assertTrue(all(x.dtype == np.float64 for x in files["model"].values()))
        with self.assertRaisesRegex(ValueError, "step 7.*8"):
            run.checkpoint(7)

    def test_samples_are_the_same_again(self) -> None:
        images, labels = sadm.sample(RUN, 3, label=1, steps=2, seed=4)
        again, _ = sadm.sample(sadm.load_run(RUN), 3, label=1, steps=2, seed=4)
        other, _ = sadm.sample(RUN, 3, label=1, steps=2, seed=5)
        self.assertEqual(labels, [1, 1, 1])
        self.assertEqual(images.shape[0], 3)
        np.testing.assert_array_equal(images, again)
        self.assertFalse(np.array_equal(images, other))

    def test_what_is_no_run_is_refused_by_name(self) -> None:
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            with self.assertRaisesRegex(FileNotFoundError, "config.toml"):
                sadm.load_run(folder)
            shutil.copytree(RUN, folder / "run")
            with (folder / "run" / "metrics.jsonl").open("a") as log:
                log.write('{"step": 9, "lo')
            with self.assertRaisesRegex(ValueError, "metrics.jsonl, line"):
                sadm.load_run(folder / "run")
            shutil.copy(RUN / "config.toml", folder)
            with self.assertRaisesRegex(ValueError, "no checkpoint"):
                sadm.load_run(folder).checkpoint()
            whole = (RUN / "checkpoints" / "00000008" / "model.safetensors").read_bytes()
            (folder / "cut.safetensors").write_bytes(whole[: len(whole) // 2])
            for file in ["cut.safetensors", "config.toml", "missing.safetensors"]:
                with self.assertRaisesRegex(Exception, file):
                    sadm.load_tensors(folder / file)
            for wrong in [{"count": 0}, {"count": 1, "label": 99}, {"count": 1, "sampler": "hoin"}, {"count": 1, "steps": 0}]:
                with self.assertRaises(ValueError):
                    sadm.sample(RUN, **wrong)


if __name__ == "__main__":
    unittest.main()
