//! Inputs: numbers both sides represent exactly, shapes drawn together with their contents.

use ndarray::{Array, ArrayD, IxDyn};
use proptest::prelude::*;
use rand::{Rng, SeedableRng};
use rand_chacha::ChaCha8Rng;

/// A number exact in f32: mostly k/64 with |k| ≤ 640, which shrinks to the smallest k that still fails;
/// one in four with a full f32 mantissa in (−10, 10), so that products round.
pub fn number() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        3 => (-640_i32..=640).prop_map(|k| f64::from(k) / 64.0),
        1 => (-10.0_f32..10.0).prop_map(f64::from),
    ]
}

/// As [`number`], in [−2, 2]: parameters and activations of ordinary size.
pub fn moderate() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        3 => (-128_i32..=128).prop_map(|k| f64::from(k) / 64.0),
        1 => (-2.0_f32..2.0).prop_map(f64::from),
    ]
}

/// A number in [`number`]'s grid or mantissas, in (0, 4].
pub fn positive() -> impl Strategy<Value = f64> + Clone {
    prop_oneof![
        3 => (1_i32..=256).prop_map(|k| f64::from(k) / 64.0),
        1 => (0.015_625_f32..4.0).prop_map(f64::from),
    ]
}

/// A time strictly inside (0, 1): k/1024, 1 ≤ k ≤ 1023.
pub fn time() -> impl Strategy<Value = f64> + Clone {
    (1_i32..=1023).prop_map(|k| f64::from(k) / 1024.0)
}

/// A tensor of the given shape with elements from `element`.
pub fn tensor_of<S>(shape: &[usize], element: S) -> BoxedStrategy<ArrayD<f64>>
where
    S: Strategy<Value = f64> + Clone + 'static,
{
    let shape = shape.to_vec();
    prop::collection::vec(element, shape.iter().product::<usize>())
        .prop_map(move |values| filled(&shape, values))
        .boxed()
}

/// A tensor of the given shape with elements from [`number`].
pub fn tensor(shape: &[usize]) -> BoxedStrategy<ArrayD<f64>> {
    tensor_of(shape, number())
}

/// A batch `[b, d]` none of whose rows is zero: the element of row i in column i mod d is moved away from
/// zero, by 1 if it lies in (−1, 1).
pub fn nonzero_rows(b: usize, d: usize) -> BoxedStrategy<ArrayD<f64>> {
    tensor(&[b, d])
        .prop_map(move |mut x| {
            for i in 0..b {
                let element = &mut x[[i, i % d]];
                if element.abs() < 1.0 {
                    // The sum of two f32 numbers need not be one.
                    *element = round_f32(*element + if *element < 0.0 { -1.0 } else { 1.0 });
                }
            }
            x
        })
        .boxed()
}

/// Standard normal numbers of a seed, each rounded once to f32: for tensors too large to shrink element
/// by element.
pub fn seeded_normal(seed: u64, shape: &[usize]) -> ArrayD<f64> {
    let mut rng = ChaCha8Rng::seed_from_u64(seed);
    let n = shape.iter().product::<usize>();
    filled(shape, (0..n).map(|_| round_f32(normal(&mut rng))).collect())
}

/// Nearest f32.
#[expect(clippy::cast_possible_truncation, reason = "rounding to f32 is meant")]
pub fn round_f32(x: f64) -> f64 {
    f64::from(x as f32)
}

/// Uniform on [0, 1), a multiple of 2⁻⁵³.
fn uniform(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * 2.0_f64.powi(-53)
}

/// Box–Muller; the first factor's argument lies in (0, 1], so the logarithm is finite.
fn normal(rng: &mut impl Rng) -> f64 {
    let (u, v) = (1.0 - uniform(rng), uniform(rng));
    (-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()
}

fn filled(shape: &[usize], values: Vec<f64>) -> ArrayD<f64> {
    Array::from_shape_vec(IxDyn(shape), values).expect("as many numbers as the shape asks for")
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::{strategy::ValueTree, test_runner::TestRunner};

    fn drawn(strategy: &BoxedStrategy<ArrayD<f64>>, times: usize) -> Vec<ArrayD<f64>> {
        let mut runner = TestRunner::deterministic();
        (0..times)
            .map(|_| strategy.new_tree(&mut runner).expect("a value").current())
            .collect()
    }

    #[test]
    fn numbers_are_exact_in_f32_and_some_fill_its_mantissa() {
        let all: Vec<f64> = drawn(&tensor(&[100]), 10).into_iter().flatten().collect();
        assert!(
            all.iter().all(|x| x.to_bits() == round_f32(*x).to_bits()),
            "a number is not an f32"
        );
        let full = all.iter().filter(|x| (*x * 64.0).fract() != 0.0).count();
        assert!(
            (150..=350).contains(&full),
            "{full} of 1000 numbers are off the grid, meant to be 250"
        );
    }

    #[test]
    fn no_row_is_zero() {
        for x in drawn(&nonzero_rows(5, 3), 200) {
            assert!(
                x.outer_iter().all(|row| row.iter().any(|v| v.abs() >= 1.0)),
                "a row is tiny: {x}"
            );
        }
    }

    #[test]
    fn seeded_numbers_are_repeatable_and_standard_normal() {
        let x = seeded_normal(7, &[10_000]);
        assert_eq!(x, seeded_normal(7, &[10_000]));
        assert_ne!(x, seeded_normal(8, &[10_000]));
        let (mean, square) = (
            x.mean().unwrap_or(9.0),
            x.mapv(|v| v * v).mean().unwrap_or(9.0),
        );
        // Standard errors 1/100 and √2/100; five of them.
        assert!(mean.abs() < 0.05, "mean {mean}");
        assert!((square - 1.0).abs() < 0.0708, "mean square {square}");
    }
}
