//! Configurations, images by number, rows of tensors.

use candle_core::{DType, Device, Tensor};
use sadm_gpu::config::Config;
use std::collections::BTreeMap;

/// The digits preset with a few keys set, and a seed.
pub fn config(seed: u64, keys: &[&str]) -> Config {
    let config = Config::preset("digits").expect("an embedded preset");
    let mut config = config.with_sets(keys.iter().copied()).expect("known keys");
    config.seed = seed;
    config
}

/// The rows of a tensor `[N, …]`.
pub fn rows(x: &Tensor) -> Vec<Vec<f64>> {
    let rows = x
        .flatten_from(1)
        .and_then(|x| x.to_dtype(DType::F64)?.to_vec2());
    rows.expect("a tensor on the CPU")
}

/// The bits of a row.
pub fn bits(row: &[f64]) -> Vec<u64> {
    row.iter().map(|x| x.to_bits()).collect()
}

/// Fails if two rows are equal.
pub fn all_differ<'a>(what: &str, rows: impl IntoIterator<Item = &'a Vec<f64>>) {
    let mut seen = BTreeMap::new();
    for (number, row) in rows.into_iter().enumerate() {
        if let Some(before) = seen.insert(bits(row), number) {
            panic!("{what}: number {number} repeats number {before}");
        }
    }
}

/// Every second pair of neighbours: pairs that share nothing.
pub fn apart<T: Clone>(values: &[T]) -> impl Iterator<Item = (T, T)> + Clone + '_ {
    values
        .chunks_exact(2)
        .map(|pair| (pair[0].clone(), pair[1].clone()))
}

/// The pairs of numbers of pairs of rows.
pub fn together<'a>(
    pairs: impl IntoIterator<Item = (&'a Vec<f64>, &'a Vec<f64>)>,
) -> impl Iterator<Item = (f64, f64)> {
    let each = pairs.into_iter();
    each.flat_map(|(a, b)| a.iter().copied().zip(b.iter().copied()))
}

/// The place for tensors.
pub const CPU: Device = Device::Cpu;
