#!/usr/bin/env bash
# lapjv (Jonker and Volgenant's solver in Rust) returns a dearer assignment of the same costs written in a smaller unit: path lengths that differ by less than the type's epsilon, an absolute number, count as equal.
# lapjv 0.3.0 (the newest). Distances of 400 points: f32 from costs of about 1e-4 on (here 1e-6); the distances times 2^20 were solved exactly in every case that we tried, and so were random costs without geometry in any unit.
# Whoever normalises costs before the assignment (a mean over all pairs, weights 1/N², metres as light years): no error, a valid permutation, a total that is too large.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
mkdir "$folder/src"
cat >"$folder/Cargo.toml" <<'TOML'
[package]
name = "units"
version = "0.0.0"
edition = "2021"

[dependencies]
lapjv = "=0.3.0"
TOML
cat >"$folder/src/main.rs" <<'RUST'
use lapjv::{lapjv, Matrix};

const N: usize = 400;

fn main() {
    // Distances between points of the unit cube, from a linear congruential generator.
    let mut state = 1u64;
    let mut draw = || {
        state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
        (state >> 40) as f32 / (1u64 << 24) as f32
    };
    let points: Vec<[f32; 3]> = (0..2 * N).map(|_| [draw(), draw(), draw()]).collect();
    let distance = |a: [f32; 3], b: [f32; 3]| (0..3).map(|k| (a[k] - b[k]).powi(2)).sum::<f32>().sqrt();
    let costs: Vec<f32> = (0..N * N).map(|k| distance(points[k / N], points[N + k % N])).collect();
    // The power of two changes no digit of a cost.
    let total = |exponent: i32| {
        let unit = 2f32.powi(exponent);
        let scaled = costs.iter().map(|c| c * unit).collect();
        let (rows, _) = lapjv(&Matrix::from_shape_vec((N, N), scaled).unwrap()).unwrap();
        let mut seen = rows.clone();
        seen.sort_unstable();
        assert!(seen.into_iter().eq(0..N), "a permutation");
        (0..N).map(|i| f64::from(costs[i * N + rows[i]])).sum::<f64>()
    };
    let (large, small) = (total(20), total(-20));
    println!("lapjv 0.3.0, f32, {N} rows: total distance {large:.6} from costs times 2^20, {small:.6} from the same costs times 2^-20");
    if small <= large {
        eprintln!("lapjv does not depend on the unit any more");
        std::process::exit(1);
    }
}
RUST
cargo run --quiet --release --manifest-path "$folder/Cargo.toml"
