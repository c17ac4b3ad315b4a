use ndarray::{Array2, array};
use proptest::prelude::*;
use sadm_reference::bound::{self, Precision};
use sadm_reference::distance::Distance;
use sadm_reference::polarised::{Form, polarised_loss};
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureError, StructureOptions, structural_loss};

use crate::structure::generic_batches;
use crate::support::{assert_close, matrix, positive};

const FORMS: [Form; 2] = [Form::Batch, Form::Feature];

fn options(relation: Relation, diagonal: Diagonal) -> StructureOptions {
    StructureOptions {
        relation,
        distance: Distance::SQUARED,
        diagonal,
    }
}

#[test]
fn the_smaller_matrix_is_chosen() {
    assert_eq!(Form::choose(64, 16), Form::Feature);
    assert_eq!(Form::choose(16, 64), Form::Batch);
    assert_eq!(Form::choose(16, 16), Form::Batch);
}

#[test]
fn what_has_no_polarised_form_is_refused() {
    let psi = array![[1.0, 2.0], [3.0, 4.0]];
    let judge = |real: &Array2<f64>, generated: &Array2<f64>, opts: &StructureOptions, form| {
        polarised_loss(real, generated, &[1.0], opts, form)
    };
    for relation in Relation::all().filter(|relation| relation.rows().is_none()) {
        let refused = StructureError::NotPolarised {
            relation,
            distance: Distance::SQUARED,
        };
        assert_eq!(
            judge(
                &psi,
                &psi,
                &options(relation, Diagonal::Include),
                Form::Batch
            ),
            Err(refused)
        );
    }
    let absolute = StructureOptions {
        distance: Distance::ABSOLUTE,
        ..StructureOptions::default()
    };
    assert!(matches!(
        judge(&psi, &psi, &absolute, Form::Batch),
        Err(StructureError::NotPolarised { .. })
    ));
    let include = options(Relation::INNER_PRODUCT, Diagonal::Include);
    let wide = array![[1.0, 2.0, 0.0], [3.0, 4.0, 0.0]];
    let refused = StructureError::Dimension {
        real: 2,
        generated: 3,
    };
    assert_eq!(judge(&psi, &wide, &include, Form::Batch), Err(refused));
    let zero = array![[0.0, 0.0], [3.0, 4.0]];
    let refused =
        judge(&psi, &zero, &StructureOptions::default(), Form::Batch).expect_err("zero row");
    assert_eq!(
        refused.to_string(),
        "generated features must not be zero under cosine, but all of row 0 are"
    );
    assert_eq!(
        judge(&array![[1e100]], &array![[1.0]], &include, Form::Feature),
        Err(StructureError::Overflow)
    );
    assert!(matches!(
        polarised_loss(&psi, &psi, &[-1.0], &include, Form::Batch),
        Err(StructureError::Eta { .. })
    ));
}

/// |B| = 64, d = 16, ‖P‖ about 1e-6 by row: the claim of mathematics.md §3, in f32.
#[test]
#[expect(clippy::cast_possible_truncation, reason = "f32 is the subject")]
fn polarised_keeps_seven_digits_where_naive_keeps_two() {
    let (b, d) = (64, 16);
    // A fixed, irregular batch: fractional parts of multiples of irrational numbers.
    let wave = |i: usize, k: usize, f: f64| ((i * d + k + 1) as f64 * f).fract() - 0.5;
    let real = Array2::from_shape_fn((b, d), |(i, k)| wave(i, k, 0.618_033_988_75) as f32);
    let generated = Array2::from_shape_fn((b, d), |(i, k)| {
        real[[i, k]] + (wave(i, k, 0.414_213_562_37) * 1e-6) as f32
    });
    let (wide, wide_hat) = (real.mapv(f64::from), generated.mapv(f64::from));
    let opts = options(Relation::INNER_PRODUCT, Diagonal::Include);
    let exact = polarised_loss(&wide, &wide_hat, &[1.0], &opts, Form::Batch).expect("finite");
    let relative = |loss: f32| (f64::from(loss) / (b * b) as f64 / exact.loss - 1.0).abs();

    let square = |x: Array2<f32>| x.mapv(|e| e * e).sum();
    let naive = relative(square(real.dot(&real.t()) - generated.dot(&generated.t())));
    let (p, s) = (&real - &generated, &real + &generated);
    let ps = p.t().dot(&s);
    let feature = relative(0.5 * ((p.t().dot(&p) * s.t().dot(&s)).sum() + (&ps * &ps.t()).sum()));
    let product = p.dot(&s.t());
    let batch = relative(square((&product + &product.t()) * 0.5));
    assert!(naive > 1e-3, "naive {naive}");
    assert!(
        feature < 1e-6 && batch < 1e-6,
        "feature {feature}, batch {batch}"
    );

    // The derived bounds know it: tight for the polarised forms, useless for the naive one.
    for form in FORMS {
        let bound =
            bound::structure::polarised_loss(&wide, &wide_hat, &[1.0], &opts, form, Precision::F32);
        let promised = bound.expect("finite").loss.error.sum() / exact.loss;
        assert!(promised < 1e-2, "{form:?} promises {promised}");
    }
    let bound = bound::structure::structural_loss(&wide, &wide_hat, &[1.0], &opts, Precision::F32);
    let promised = bound.expect("finite").loss.error.sum() / exact.loss;
    assert!(promised > naive, "naive promises {promised}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Polarised = naive, within what both may be off by.
    #[test]
    fn polarised_is_naive(
        (real, generated, eta) in (1..=6usize, 1..=4usize).prop_flat_map(|(b, d)| (matrix(b, d), matrix(b, d), prop::collection::vec(positive(), b))),
        shared in any::<bool>(),
    ) {
        let eta = if shared { &eta[..1] } else { &eta[..] };
        for relation in [Relation::COSINE, Relation::INNER_PRODUCT] {
            for (diagonal, form) in [(Diagonal::Include, Form::Batch), (Diagonal::Include, Form::Feature), (Diagonal::Exclude, Form::Batch)] {
                let opts = options(relation, diagonal);
                let Ok(naive) = structural_loss(&real, &generated, eta, &opts) else {
                    // A zero row, or a single sample without diagonal: refused by both.
                    prop_assert!(polarised_loss(&real, &generated, eta, &opts, form).is_err());
                    continue;
                };
                let got = polarised_loss(&real, &generated, eta, &opts, form).expect("naive took it");
                let allowed = bound::structure::structural_loss(&real, &generated, eta, &opts, Precision::F64).expect("naive took it");
                prop_assert!((got.loss - naive.loss).abs() <= allowed.loss.error.sum());
                prop_assert!(allowed.grad_real.worst_ratio(&got.grad_real.into_dyn()) <= 1.0);
                prop_assert!(allowed.grad_generated.worst_ratio(&got.grad_generated.into_dyn()) <= 1.0);
            }
        }
    }

    /// As Ψ̂ → Ψ all digits stay: S(Ψ, Ψ + hV) = h² S₂ + O(h³), for h far below where the naive form sees nothing.
    #[test]
    fn digits_survive_where_batches_meet(
        (real, v) in (2..=5usize, 1..=4usize).prop_flat_map(|(b, d)| (matrix(b, d), matrix(b, d))),
    ) {
        let v = v.mapv(|x| (x * 64.0).round() / 64.0);
        let opts = options(Relation::INNER_PRODUCT, Diagonal::Include);
        // ΨVᵀ + VΨᵀ: the derivative of the Gram matrix.
        let product = real.dot(&v.t());
        let second = (&product + &product.t()).mapv(|e| e * e).sum() / (real.nrows() as f64).powi(2);
        let third = v.dot(&v.t()).mapv(f64::abs).sum();
        // The sum is exact: a number of at most 2² in f32, plus k·2⁻³⁴.
        let h = 2.0_f64.powi(-28);
        let generated = &real + &(&v * h);
        for form in FORMS {
            let got = polarised_loss(&real, &generated, &[1.0], &opts, form).expect("finite").loss;
            let size = real.iter().chain(&v).fold(0.0_f64, |m, x| m.max(x.abs())).powi(4) * 400.0;
            let allowed = 4.0 * h * (second.sqrt() + third) * (second.sqrt() + third) + 64.0 * f64::EPSILON * size;
            prop_assert!((got / (h * h) - second).abs() <= allowed, "{form:?}: {} vs {second}", got / (h * h));
        }
    }
}

/// Loss and first gradients at ψ̂ = ψ + 2⁻³⁰ δ under cosine, by mpmath at 60 digits (the gradients by central differences
/// there): the difference of two rounded unit rows would keep seven digits.
#[test]
fn cosine_loses_nothing_to_the_rounding_of_unit_rows() -> Result<(), StructureError> {
    let real = array![[0.75, -1.25, 0.5], [1.5, 0.25, -0.75], [-0.5, 1.0, 2.0]];
    let delta = array![[0.5, 0.25, -1.0], [-0.75, 1.0, 0.5], [0.25, -0.5, 1.5]];
    let generated = &real + &(delta * 2.0_f64.powi(-30));
    for (diagonal, loss, grad_real, grad_generated) in [
        (
            Diagonal::Include,
            3.329_292_116_745_017_5e-20,
            -2.506_810_184_081_683e-11,
            2.506_810_183_443_109e-11,
        ),
        (
            Diagonal::Exclude,
            4.993_938_175_117_526e-20,
            -3.760_215_276_122_524e-11,
            3.760_215_275_164_664e-11,
        ),
    ] {
        for form in FORMS {
            let opts = options(Relation::COSINE, diagonal);
            let got = polarised_loss(&real, &generated, &[1.0], &opts, form)?;
            assert_close(got.loss, loss, 64.0);
            assert_close(got.grad_real[[0, 0]], grad_real, 256.0);
            assert_close(got.grad_generated[[0, 0]], grad_generated, 256.0);
        }
    }
    Ok(())
}

/// Rows so long and so far apart that their difference overflows: cosine sees their directions alone.
#[test]
fn cosine_sees_the_directions_of_rows_too_long_to_be_subtracted() -> Result<(), StructureError> {
    let (real, generated) = (
        array![[1.2, 0.5], [1.0, 1.0]],
        array![[-1.2, 0.25], [0.5, -1.0]],
    );
    let opts = options(Relation::COSINE, Diagonal::Exclude);
    let loss = |scale: f64| {
        polarised_loss(
            &(&real * scale),
            &(&generated * scale),
            &[1.0],
            &opts,
            Form::Batch,
        )
        .map(|got| got.loss)
    };
    assert!((1e308 * (real[[0, 0]] - generated[[0, 0]])).is_infinite());
    assert_close(loss(1e308)?, loss(1.0)?, 64.0);
    Ok(())
}

/// Lengths do not matter under cosine, whichever of the two rows is the longer, by whatever factor.
#[test]
fn cosine_does_not_see_lengths() -> Result<(), StructureError> {
    let [real, generated] = generic_batches();
    let opts = options(Relation::COSINE, Diagonal::Include);
    let loss = |real: &Array2<f64>, generated: &Array2<f64>| {
        polarised_loss(real, generated, &[1.0], &opts, Form::Batch).map(|got| got.loss)
    };
    let want = loss(&real, &generated)?;
    for scale in [1e-250, 0.5, 3.0, 1e250] {
        assert_close(loss(&(&real * scale), &generated)?, want, 64.0);
        assert_close(loss(&real, &(&generated * scale))?, want, 64.0);
    }
    Ok(())
}
