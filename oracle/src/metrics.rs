//! `frechet`, `kid`, `precision-recall` and `inception-score`: how good samples are, from their features.

use anyhow::Result;
use ndarray::Array1;
use sadm_reference::metrics::{Ball, frechet, inception_score, kid, prdc};

use crate::options::{Kind, OptionSpec, Options};
use crate::quantity::{Outputs, Quantity, port};
use crate::structure::matrix;
use crate::tensors::Tensors;

/// The squared Fréchet distance and its two terms.
pub const FRECHET: Quantity = Quantity {
    name: "frechet",
    formula: &[
        "frechet = mean_term + trace_term,  mean_term = ‖μ_a − μ_b‖²",
        "trace_term = Tr(Σ_a + Σ_b − 2(Σ_a^½ Σ_b Σ_a^½)^½),  covariances over N−1 and M−1",
    ],
    inputs: &[port("a", &["N", "d"]), port("b", &["M", "d"])],
    optional: &[],
    options: &[],
    outputs: &[
        port("frechet", &["1"]),
        port("mean_term", &["1"]),
        port("trace_term", &["1"]),
    ],
    compute: frechet_distance,
    bounds: None,
    note: Some(too_few),
};

/// The kernel distance in one block.
pub const KID: Quantity = Quantity {
    name: "kid",
    formula: &[
        "kid = mean_{i≠j} k(a_i,a_j) + mean_{i≠j} k(b_i,b_j) − 2 mean_ij k(a_i,b_j),  k(x,y) = (xᵀy/d + 1)³",
    ],
    inputs: &[port("a", &["N", "d"]), port("b", &["M", "d"])],
    optional: &[],
    options: &[],
    outputs: &[port("kid", &["1"])],
    compute: kernel_distance,
    bounds: None,
    note: None,
};

/// Precision, recall, density and coverage.
pub const PRECISION_RECALL: Quantity = Quantity {
    name: "precision-recall",
    formula: &[
        "r_i, ρ_j: distance of x_i (real), y_j (generated) to its k-th nearest neighbour in its own set, itself left out",
        "precision = mean_j [∃i ‖x_i−y_j‖ ≤ r_i],  recall = mean_i [∃j ‖x_i−y_j‖ ≤ ρ_j]",
        "density = 1/k mean_j Σ_i [‖x_i−y_j‖ < r_i],  coverage = mean_i [∃j ‖x_i−y_j‖ < r_i]",
    ],
    inputs: &[port("real", &["N", "d"]), port("generated", &["M", "d"])],
    optional: &[],
    options: &[OptionSpec::new("k", Kind::Count(1_000_000), "3")],
    outputs: &[
        port("precision", &["1"]),
        port("recall", &["1"]),
        port("density", &["1"]),
        port("coverage", &["1"]),
    ],
    compute: precision_recall,
    bounds: None,
    note: None,
};

/// Mean and deviation of the inception score over splits.
pub const INCEPTION_SCORE: Quantity = Quantity {
    name: "inception-score",
    formula: &[
        "score of a split = exp(mean_i Σ_c p_ic ln(p_ic/p̄_c)),  p̄ = mean_i p_i,  0·ln 0 = 0",
        "mean and std (over n, not n−1) of consecutive splits, rows ⌊sN/splits⌋ to ⌊(s+1)N/splits⌋",
    ],
    inputs: &[port("probabilities", &["N", "C"])],
    optional: &[],
    options: &[OptionSpec::new("splits", Kind::Count(1_000_000), "10")],
    outputs: &[port("mean", &["1"]), port("std", &["1"])],
    compute: score,
    bounds: None,
    note: None,
};

/// The rank of a covariance is below the number of samples.
fn too_few(inputs: &Tensors<'_>) -> Option<String> {
    let [a, b] = ["a", "b"].map(|name| inputs[name].shape());
    let features = a[1];
    (a[0] <= features || b[0] <= features).then(|| {
        format!(
            "{} and {} samples do not suffice for covariances of full rank in {features} features: the distance is biased upwards",
            a[0], b[0]
        )
    })
}

fn frechet_distance(inputs: &Tensors<'_>, _: &Options) -> Result<Outputs> {
    let (a, b) = (matrix(inputs, "a")?, matrix(inputs, "b")?);
    let answer = frechet(a.view(), b.view())?;
    Ok(scalars(&[
        answer.distance(),
        answer.mean_term,
        answer.trace_term,
    ]))
}

fn kernel_distance(inputs: &Tensors<'_>, _: &Options) -> Result<Outputs> {
    let (a, b) = (matrix(inputs, "a")?, matrix(inputs, "b")?);
    Ok(scalars(&[kid(a.view(), b.view())?]))
}

fn precision_recall(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let (real, generated) = (matrix(inputs, "real")?, matrix(inputs, "generated")?);
    let k = options.count("k");
    let answer = prdc(real.view(), generated.view(), k, Ball::Closed)?;
    Ok(scalars(&[
        answer.precision,
        answer.recall,
        answer.density,
        answer.coverage,
    ]))
}

fn score(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let p = matrix(inputs, "probabilities")?;
    let answer = inception_score(p.view(), options.count("splits"))?;
    Ok(scalars(&[answer.mean, answer.std]))
}

/// One tensor `[1]` per number.
fn scalars(values: &[f64]) -> Outputs {
    let tensor = |value: &f64| Array1::from(vec![*value]).into_dyn();
    values.iter().map(tensor).collect()
}
