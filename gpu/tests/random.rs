//! Streams are functions of (seed, purpose, index). (The laws of their numbers: `laws/streams.rs`.)

use candle_core::{DType, Device};
use proptest::prelude::*;
use sadm_gpu::random::Streams;

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

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_permutation_holds_every_index_once(seed: u64, index: u64, n in 0usize..50) {
        let mut order = Streams::new(seed).permutation("order", index, n);
        order.sort_unstable();
        prop_assert_eq!(order, (0..n).collect::<Vec<_>>());
    }
}
