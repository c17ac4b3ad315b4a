//! One test for each failure that the checks have found, as values: proptest's own seeds go stale with the
//! strategies that drew them.

use candle_core::DType;
use ndarray::array;

use crate::{Case, Place, engine::judge_once, registry::select};

fn passes(check: &str, dtype: DType, case: &Case) {
    let found = select(crate::registry(), check).expect("the check exists");
    let report =
        judge_once(found[0].as_ref(), case, &Place::cpu(dtype)).expect("it has a ledger entry");
    assert!(!report.failed(), "{check}: {}", report.place);
}

/// 2026-11-22. The bound knew the polarised form of M − M̂ only under the squared distance; differentiated
/// automatically under |e|, ∂S/∂Ψ̂ = G(P − S) cancels where Ψ̂ is small beside Ψ.
#[test]
fn polarised_difference_under_the_absolute_distance() {
    let case = Case::new()
        .tensor("real", array![[1.0, 0.0], [0.5, 1.0]])
        .tensor("generated", array![[1.0, 0.0], [0.015_625, 1.0]])
        .numbers("eta", vec![0.015_625, 0.747_197_747_230_529_8])
        .text("diagonal", "exclude")
        .number("bandwidth", 0.0625)
        .number("delta", 0.015_625);
    passes("structural-loss.inner-product.absolute", DType::F32, &case);
}

/// 2026-11-22. In bf16 the backward pass of the softmax starts from the stored, rounded probabilities.
#[test]
fn softmax_gradient_from_rounded_probabilities() {
    let case = Case::new()
        .tensor("x", array![[-0.078_125, 0.296_875]])
        .tensor("g", array![[0.0, 0.140_625]]);
    passes("nn.softmax", DType::BF16, &case);
}

/// 2026-11-22. candle adds the gradients of a repeated row in bf16.
#[test]
fn embedding_gradient_of_a_repeated_row() {
    let case = Case::new()
        .tensor("table", array![[0.0]])
        .tensor(
            "g",
            array![[0.0625], [0.940_868_437_290_191_7], [-0.015_625]],
        )
        .counts("index", vec![0, 0, 0]);
    passes("nn.embedding", DType::BF16, &case);
}

/// 2026-11-22. The deviation of the posterior comes from 1 − σ_s/σ_t, which cancels on the host.
#[test]
fn ancestral_step_between_neighbouring_levels() {
    let zero = array![[0.0]];
    let case = Case::new()
        .tensor("z", zero.clone())
        .tensor("denoised", zero.clone())
        .tensor("denoised_next", zero)
        .tensor("noise", array![[-0.015_625]])
        .number("from", 2.703_125)
        .number("to", 2.656_25);
    passes("sampler.ddpm", DType::F64, &case);
}

/// 2026-11-22. Affinities of distant points underflow: 1.7e-322 in one order of operations, 0 in another.
#[test]
fn underflowing_affinities() {
    let real = array![
        [-7.0625, -3.093_75, -1.093_75],
        [0.0, 1.0, 0.0],
        [-9.1875, 3.389_325_857_162_475_6, -1.015_625],
        [1.0, 0.0, 0.0]
    ];
    let generated = array![
        [1.0, 0.0, 0.0],
        [0.0, 1.0, 0.0],
        [0.0, 0.0, -9.547_892_570_495_605],
        [1.0, 0.0, 0.0]
    ];
    let case = Case::new()
        .tensor("real", real)
        .tensor("generated", generated)
        .numbers("eta", vec![2.234_375])
        .text("diagonal", "exclude")
        .number("bandwidth", 0.25)
        .number("delta", 0.015_625);
    passes("structural-loss.rbf.squared", DType::F64, &case);
}
