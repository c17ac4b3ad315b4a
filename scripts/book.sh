#!/usr/bin/env bash
# Builds the book in docs/; the tools are installed by cargo where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v mdbook >/dev/null || cargo install --locked mdbook@0.5.4
if grep -q 'preprocessor.katex' docs/book.toml; then
    command -v mdbook-katex >/dev/null || cargo install --locked --version "^0.10" mdbook-katex
fi
# The figures first: the chapters include them.
cargo run --quiet --package sadm-docs --example figures
mdbook build docs
