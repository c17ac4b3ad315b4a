#!/usr/bin/env bash
# pytorch-fid 0.3.0 and clean-fid 0.1.35 end in a TypeError at the distance itself, after all features have been computed: SciPy's sqrtm takes no `disp` any more.
# pytorch-fid 0.3.0, clean-fid 0.1.35 (the newest of both) with scipy 1.18.1; with scipy 1.17.1 both give the distance. numpy 2.4.6, Python 3.12 or later.
# Whoever installs either package today without a pin on SciPy, and waits for the Inception features of both sets first.
set -euo pipefail
python=${PYTHON:-python3}
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 12))' || {
  echo "scipy 1.18.1 needs Python 3.12 or later: PYTHON=python3.12 $0" >&2
  exit 2
}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

# The two functions as published, without the networks that their modules import: torch is not needed for a distance of arrays.
cat >"$folder/distance.py" <<'PY'
import ast, importlib.metadata, importlib.util, pathlib, sys
import numpy as np, scipy
from scipy import linalg

def published(package, module, function):
    folder = pathlib.Path(importlib.util.find_spec(package).submodule_search_locations[0])
    tree = ast.parse((folder / module).read_text())
    found = [node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == function]
    names = {"np": np, "linalg": linalg}
    exec(compile(ast.Module(found, []), module, "exec"), names)
    return names[function]

functions = {
    "pytorch-fid": published("pytorch_fid", "fid_score.py", "calculate_frechet_distance"),
    "clean-fid": published("cleanfid", "fid.py", "frechet_distance"),
}
x = np.random.default_rng(0).normal(size=(2, 500, 4))
moments = [(a.mean(0), np.cov(a, rowvar=False)) for a in x]
expected = {"fails": "TypeError", "works": "number"}[sys.argv[1]]
for name, function in functions.items():
    try:
        said = f"distance {function(*moments[0], *moments[1]):.6f}"
        kind = "number"
    except TypeError as reason:
        said, kind = f"TypeError: {reason}", "TypeError"
    print(f"{name} {importlib.metadata.version(name)}, scipy {scipy.__version__}: {said}")
    if kind != expected:
        sys.exit(f"{name} behaves otherwise now: {expected} was expected")
PY

for case in "1.17.1 works" "1.18.1 fails"; do
  read -r scipy expected <<<"$case"
  "$python" -m venv "$folder/$scipy"
  "$folder/$scipy/bin/pip" install -q "scipy==$scipy" numpy==2.4.6
  "$folder/$scipy/bin/pip" install -q --no-deps pytorch-fid==0.3.0 clean-fid==0.1.35
  "$folder/$scipy/bin/python" "$folder/distance.py" "$expected"
done
