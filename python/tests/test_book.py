"""The Python that the book shows is run, block after block in one namespace, as a reader would type it."""

from __future__ import annotations

import os
import re
import unittest
from pathlib import Path

ROOT = Path(__file__).parents[2]


class Book(unittest.TestCase):
    def test_the_chapter_runs(self) -> None:
        self.runs("docs/src/python.md", 6)

    def test_the_readme_runs(self) -> None:
        self.runs("README.md", 1)

    def runs(self, page: str, least: int) -> None:
        text = (ROOT / page).read_text()
        blocks = [(text[: m.start()].count("\n") + 2, m[1]) for m in re.finditer(r"```python\n(.*?)```", text, re.S)]
        self.assertGreaterEqual(len(blocks), least)
        namespace: dict[str, object] = {}
        before = os.getcwd()
        os.chdir(ROOT)
        try:
            for line, block in blocks:
                exec(compile("\n" * (line - 1) + block, page, "exec"), namespace)
        finally:
            os.chdir(before)


if __name__ == "__main__":
    unittest.main()
