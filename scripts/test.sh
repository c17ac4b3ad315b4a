#!/usr/bin/env bash
# Everything that must hold before a change lands: format, lints, tests, doc tests, links of the documentation.
set -euo pipefail
cd "$(dirname "$0")/.."

# The same cases everywhere; PROPTEST_RNG_SEED=N draws others.
export PROPTEST_RNG_SEED=${PROPTEST_RNG_SEED:-1}

step() { echo; echo "== $*"; }

step format
cargo fmt --all --check

step scripts
for script in scripts/*.sh; do bash -n "$script"; done
python3 -c 'import sys; [compile(open(path).read(), path, "exec") for path in sys.argv[1:]]' scripts/*.py benches/*.py fixtures/*.py python/*.py python/*/*.py

step "what one more entry of a registry touches"
scripts/entry-files.sh structure/relation laplacian

step lints
cargo clippy --workspace --all-targets --quiet -- -D warnings

step documentation
RUSTDOCFLAGS="-D warnings" cargo doc --workspace --no-deps --quiet

step doc tests
cargo test --workspace --doc --quiet

step tests
if cargo nextest --version >/dev/null 2>&1; then
    cargo nextest run --workspace
else
    cargo test --workspace --lib --bins --tests
fi

step "package for Python"
scripts/python.sh
