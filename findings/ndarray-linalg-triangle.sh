#!/usr/bin/env bash
# ndarray-linalg's `eigh(UPLO::Lower)` reads the upper triangle of an array in row order, ndarray's default, and the lower one of an array in column order; `invh` of a symmetric matrix returns the off-diagonal elements of its argument instead of the inverse's.
# ndarray-linalg 0.18.1, ndarray 0.17, OpenBLAS of Debian 12 (0.3.21), rustc 1.95 (2026-11-30). `invh`: https://github.com/rust-ndarray/ndarray-linalg/issues/285, open since 2021.
# Whoever fills one triangle only, or inverts a covariance with invh: no error, another matrix. Needs libopenblas-dev and pkg-config.
set -euo pipefail

folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat > "$folder/Cargo.toml" <<'TOML'
[package]
name = "finding"
version = "0.0.0"
edition = "2021"
[dependencies]
ndarray = "0.17"
ndarray-linalg = { version = "=0.18.1", default-features = false, features = ["openblas-system"] }
TOML
cat > "$folder/src/main.rs" <<'RUST'
use ndarray::{Array2, ShapeBuilder, array};
use ndarray_linalg::{Cholesky, Eigh, Inverse, InverseH, UPLO};

fn main() {
    let least = |a: &Array2<f64>| a.eigh(UPLO::Lower).expect("eigenvalues").0[0];
    let [lower, upper] = [1.0, 2.0].map(|off| array![[4.0, off], [off, 3.0]]);
    // 1 below the diagonal, 2 above it.
    let by_row = array![[4.0, 2.0], [1.0, 3.0]];
    let mut by_column = Array2::zeros((2, 2).f());
    by_column.assign(&by_row);
    let (of_lower, of_upper) = (least(&lower), least(&upper));
    println!("least eigenvalue of the lower triangle {of_lower:.4}, of the upper one {of_upper:.4}");
    println!("eigh(UPLO::Lower): {:.4} in row order, {:.4} in column order", least(&by_row), least(&by_column));
    let factor = |a: &Array2<f64>| a.cholesky(UPLO::Lower).expect("a factor")[[1, 0]];
    println!("cholesky(UPLO::Lower), which is right: {} in row order, {} in column order", factor(&by_row), factor(&by_column));
    let (inverse, invh) = (upper.inv().expect("an inverse"), upper.invh().expect("an inverse"));
    println!("symmetric {upper}\ninv {inverse:.4}\ninvh {invh:.4}");
    let near = |a: f64, b: f64| (a - b).abs() < 1e-12;
    let same = near(least(&by_row), of_upper)
        && near(least(&by_column), of_lower)
        && near(factor(&by_row), 0.5)
        && near(factor(&by_column), 0.5)
        && near(inverse[[0, 1]], -0.25)
        && near(invh[[0, 0]], 0.375)
        && near(invh[[0, 1]], 2.0);
    if !same {
        eprintln!("this is no longer what was found");
        std::process::exit(1);
    }
}
RUST
rustc --version
pkg-config --modversion openblas | sed 's/^/OpenBLAS /'
CARGO_TARGET_DIR="$folder/target" cargo run --quiet --manifest-path "$folder/Cargo.toml"
grep -A1 -E 'name = "(ndarray|ndarray-linalg|lax)"' "$folder/Cargo.lock"
