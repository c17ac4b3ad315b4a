#!/usr/bin/env python3
"""Writes sadm/oracle.py: a typed function for each quantity of the oracle. `--check` says whether it is as it would be written.

The package must be importable: `make python` does what is needed.
"""

from __future__ import annotations

import importlib.util
import keyword
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from sadm import _sadm

HEAD = '''"""Every quantity of the oracle as a function on arrays: any dtype in, float64 out.

Written by `python/generate.py` from the registry that `sadm oracle` uses; do not edit.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from ._arrays import F64, ArrayLike
from ._ask import ask

'''
WIDTH = 120


def python(name: str) -> str:
    """A name of the oracle as one of Python's."""
    name = name.replace("-", "_")
    return name + "_" if keyword.iskeyword(name) else name


def title(name: str) -> str:
    return "".join(part.capitalize() for part in name.split("-"))


def shape(symbols: list[str]) -> str:
    return f"[{', '.join(symbols)}]"


def option_type(option: _sadm.Option) -> str:
    if option["kind"] == "choice":
        return "Literal[" + ", ".join(f'"{word}"' for word in option["words"]) + "]"
    return "int" if option["kind"] == "count" else "float"


def option_default(option: _sadm.Option) -> str:
    return f'"{option["default"]}"' if option["kind"] == "choice" else option["default"]


def function(quantity: _sadm.Quantity) -> str:
    name, result = python(quantity["name"]), title(quantity["name"])
    scalar = {port: symbols == ["1"] for port, symbols in quantity["outputs"]}
    lines = ["@dataclass(frozen=True)", f"class {result}:", f'    """What `{name}` answers."""', ""]
    for port, symbols in quantity["outputs"]:
        lines.append(f"    {python(port)}: {'float' if scalar[port] else 'F64'}")
        lines.append('    """' + ("A number." if scalar[port] else f"{shape(symbols)}.") + '"""')
    parameters = [f"{python(port)}: ArrayLike" for port, _ in quantity["inputs"]]
    parameters += [f"{python(port)}: ArrayLike | None = None" for port, _ in quantity["optional"]]
    if quantity["options"]:
        parameters.append("*")
    for option in quantity["options"]:
        kind, default = option_type(option), option_default(option)
        parameters.append(f"{option['name']}: {kind} | None = None" if option["only_with"] else f"{option['name']}: {kind} = {default}")
    lines += ["", "", f"def {name}("] + [f"    {p}," for p in parameters] + [f") -> {result}:"]
    lines += ['    """' + quantity["formula"][0]] + [f"    {line}" for line in quantity["formula"][1:]]
    lines += ["", "    Args:"]
    lines += [f"        {python(port)}: {shape(symbols)}, finite." for port, symbols in quantity["inputs"]]
    lines += [f"        {python(port)}: {shape(symbols)}, or nothing." for port, symbols in quantity["optional"]]
    for option in quantity["options"]:
        note = f"{option['domain']}"
        if option["only_with"]:
            key, words = option["only_with"]
            note += f"; {option['default']} unless given, and only with {key}={'|'.join(words)}"
        lines.append(f"        {option['name']}: {note}.")
    outputs = ", ".join(f"`{python(port)}` {'' if scalar[port] else shape(symbols)}".strip() for port, symbols in quantity["outputs"])
    lines += ["", "    Returns:", f"        {outputs}."]
    lines += ["", "    Raises:", "        ValueError: a shape, number or option that the quantity is not defined for."]
    lines += ["        TypeError: what is no array of real numbers on the CPU.", '    """']
    tensors = ", ".join(f'"{port}": {python(port)}' for port, _ in quantity["inputs"] + quantity["optional"])
    options = ", ".join(f'"{o["name"]}": {o["name"]}' for o in quantity["options"])
    lines.append(f'    found = ask("{quantity["name"]}", {{{tensors}}}, {{{options}}})')
    lines.append(f"    return {result}(" + ", ".join(f'found["{port}"]' for port, _ in quantity["outputs"]) + ")")
    return "\n".join(lines) + "\n"


def native() -> Any:
    """The native part alone: the package around it needs what is written here."""
    for entry in sys.path:
        file = Path(entry) / "sadm" / "_sadm.abi3.so"
        spec = importlib.util.spec_from_file_location("_sadm", file) if file.is_file() else None
        if spec is not None and spec.loader is not None:
            module = importlib.util.module_from_spec(spec)
            spec.loader.exec_module(module)
            return module
    sys.exit("the package is not built: scripts/python.sh python3 python/generate.py")


def text() -> str:
    quantities = sorted(native().quantities(), key=lambda q: q["name"])
    # `sadm.structural_loss` says more than the oracle's.
    shown = [q["name"] for q in quantities if q["name"] != "structural-loss"]
    names = ", ".join(f'"{name}"' for q in shown for name in (title(q), python(q)))
    body = HEAD + f"__all__ = [{names}]\n"
    return body + "".join(f"\n\n{function(quantity)}" for quantity in quantities)


def main() -> int:
    path = Path(__file__).parent / "sadm" / "oracle.py"
    if "--check" in sys.argv[1:]:
        if path.read_text() != text():
            print(f"{path} is not what the registry says: python/generate.py writes it")
            return 1
        return 0
    path.write_text(text())
    return 0


if __name__ == "__main__":
    sys.exit(main())
