//! Streams are functions of (seed, purpose, index), and their numbers have the right law.

use candle_core::{DType, Device};
use proptest::prelude::*;
use sadm_gpu::random::{Streams, standard_normals};

#[test]
fn equal_names_give_equal_numbers_and_different_names_different_ones() {
    let streams = Streams::new(11);
    let base = streams.normal("noise", 5, 64);
    assert_eq!(base, Streams::new(11).normal("noise", 5, 64));
    assert_ne!(base, streams.normal("noise", 6, 64), "the index is ignored");
    assert_ne!(
        base,
        streams.normal("time", 5, 64),
        "the purpose is ignored"
    );
    assert_ne!(
        base,
        Streams::new(12).normal("noise", 5, 64),
        "the seed is ignored"
    );
}

#[test]
fn a_longer_draw_begins_like_a_shorter_one() {
    let streams = Streams::new(3);
    let long = streams.normal("noise", 0, 101);
    for n in [0, 1, 2, 7, 100] {
        assert_eq!(streams.normal("noise", 0, n), long[..n], "the first {n}");
    }
    assert_eq!(streams.uniform("t", 0, 3), streams.uniform("t", 0, 9)[..3]);
}

/// Pins the generator: a resumed run of an older build must draw the same numbers.
#[test]
fn the_first_numbers_are_these() {
    let got = Streams::new(1).uniform("pin", 2, 2);
    assert_eq!(
        got, PINNED,
        "the streams changed: old runs can no longer be resumed"
    );
}
const PINNED: [f64; 2] = [0.349_270_679_349_369_3, 0.084_363_449_844_453_65];

/// n = 200 000 fixed draws; each moment is within 5 of its standard errors √(Var(zᵏ)/n).
#[test]
fn normal_moments_are_those_of_the_standard_normal() {
    const N: usize = 200_000;
    let draws = standard_normals(&mut Streams::new(2024).rng("moments", 0), N);
    // (k, E zᵏ, Var zᵏ = E z²ᵏ − (E zᵏ)²)
    for (power, mean, variance) in [(1, 0.0, 1.0), (2, 1.0, 2.0), (3, 0.0, 15.0), (4, 3.0, 96.0)] {
        let got = draws.iter().map(|z| z.powi(power)).sum::<f64>() / N as f64;
        let allowed = 5.0 * f64::sqrt(variance / N as f64);
        assert!(
            (got - mean).abs() <= allowed,
            "E z^{power} = {got}, not {mean} ± {allowed}"
        );
    }
    let pairs = draws.chunks_exact(2).map(|p| p[0] * p[1]).sum::<f64>() / (N / 2) as f64;
    assert!(
        pairs.abs() <= 5.0 / ((N / 2) as f64).sqrt(),
        "neighbours correlate: {pairs}"
    );
    let tail = draws
        .iter()
        .filter(|z| z.abs() > 1.959_963_984_540_054)
        .count() as f64
        / N as f64;
    assert!(
        (tail - 0.05).abs() <= 5.0 * (0.05_f64 * 0.95 / N as f64).sqrt(),
        "5 % tail: {tail}"
    );
}

#[test]
fn uniforms_fill_the_unit_interval_evenly() {
    const N: usize = 100_000;
    let draws = Streams::new(8).uniform("u", 0, N);
    assert!(
        draws.iter().all(|u| (0.0..1.0).contains(u)),
        "outside [0, 1)"
    );
    let mut counts = [0usize; 10];
    for u in &draws {
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "0 ≤ 10u < 10"
        )]
        let bin = (10.0 * u) as usize;
        counts[bin] += 1;
    }
    // χ² with 9 degrees of freedom: P(> 33.7) = 1e-4.
    let expected = N as f64 / 10.0;
    let chi2: f64 = counts
        .iter()
        .map(|&c| (c as f64 - expected).powi(2) / expected)
        .sum();
    assert!(chi2 < 33.7, "{counts:?}");
}

#[test]
fn a_tensor_holds_the_same_numbers_in_every_dtype() {
    let streams = Streams::new(5);
    let want = streams.normal("noise", 1, 6);
    let draw = |dtype| {
        streams
            .normal_tensor("noise", 1, (2, 3), &Device::Cpu, dtype)
            .and_then(|t| Ok(t.to_dtype(DType::F32)?.flatten_all()?.to_vec1::<f32>()?))
            .expect("a CPU tensor")
    };
    assert_eq!(draw(DType::F32), want);
    assert_eq!(draw(DType::F64), want);
    for (rounded, exact) in draw(DType::BF16).iter().zip(&want) {
        assert!(
            (rounded - exact).abs() <= exact.abs() / 256.0,
            "{rounded} for {exact}"
        );
    }
}

/// All 6 orders of 3 things, 6 000 draws: χ² with 5 degrees of freedom, P(> 25.7) = 1e-4.
#[test]
fn permutations_are_uniform() {
    let streams = Streams::new(0);
    let mut counts = std::collections::BTreeMap::new();
    for index in 0..6000 {
        *counts
            .entry(streams.permutation("order", index, 3))
            .or_insert(0usize) += 1;
    }
    let chi2: f64 = counts
        .values()
        .map(|&c| (c as f64 - 1000.0).powi(2) / 1000.0)
        .sum();
    assert!(counts.len() == 6 && chi2 < 25.7, "{counts:?}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_permutation_holds_every_index_once(seed: u64, index: u64, n in 0usize..50) {
        let mut order = Streams::new(seed).permutation("order", index, n);
        order.sort_unstable();
        prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
    }
}
