#!/usr/bin/env bash
# scripts/python.sh [COMMAND …]: builds the Python package into target/python and runs its tests there, or COMMAND with it importable.
# Needs NumPy; PYTHON chooses the interpreter (at least 3.11).
set -euo pipefail
cd "$(dirname "$0")/.."

# The system's own Python has the system's NumPy.
for python in "${PYTHON:-python3}" /usr/bin/python3 ''; do
    [[ -n $python ]] || { echo "python.sh: no Python from 3.11 on with NumPy; PYTHON=… names one" >&2; exit 1; }
    "$python" -c 'import sys, numpy; sys.exit(sys.version_info < (3, 11))' 2>/dev/null && break
done
profile=${PROFILE:-dev}
cargo build --quiet --workspace --profile "$profile"
[[ $profile == dev ]] && built=debug || built=$profile
target=${CARGO_TARGET_DIR:-target}
# A copy of the sources beside the library: nothing that is built stands in the tree.
rm -rf "$target/python"
mkdir -p "$target/python"
cp -r python/sadm "$target/python/"
cp "$target/$built/lib_sadm.so" "$target/python/sadm/_sadm.abi3.so"
PYTHONPATH=$(realpath "$target/python")
export PYTHONPATH
if (($#)); then
    exec "$@"
fi
exec "$python" -m unittest discover --start-directory python/tests --top-level-directory python/tests
