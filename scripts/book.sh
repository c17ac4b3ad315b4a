#!/usr/bin/env bash
# Builds the book in docs/ with its figures and its rustdoc; the tools are installed by cargo where they are missing.
set -euo pipefail
cd "$(dirname "$0")/.."

command -v mdbook >/dev/null || cargo install --locked mdbook@0.5.4
command -v mdbook-katex >/dev/null || cargo install --locked --version "^0.10" mdbook-katex

# The figures and listings first: the chapters include them.
cargo run --quiet --package sadm-docs --example figures
cargo run --quiet --package sadm-docs --example listings
mdbook build docs

# The rustdoc of these three crates alone, so that its search knows no page that the book lacks; what other `cargo doc`
# runs have left is put back.
target=${CARGO_TARGET_DIR:-target}
rm -rf "$target/doc.kept"
put_back() {
    rm -rf "$target/doc"
    if [ -d "$target/doc.kept" ]; then mv "$target/doc.kept" "$target/doc"; fi
}
trap put_back EXIT
if [ -d "$target/doc" ]; then mv "$target/doc" "$target/doc.kept"; fi
cargo doc --quiet --no-deps --workspace --exclude sadm --exclude sadm-crosscheck --exclude sadm-docs
cp -r "$target/doc" docs/book/api

cargo run --quiet --package sadm-docs --example links -- docs/book
echo "the book: docs/book/index.html"
