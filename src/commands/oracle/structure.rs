//! `structural-loss`: how far apart the relations inside two batches are.

use anyhow::{Context, Result};
use ndarray::{Array1, Array2, Ix2};
use sadm_reference::distance::Distance;
use sadm_reference::relation::Relation;
use sadm_reference::structure::{StructureOptions, structural_loss};

use super::options::{Kind, OptionSpec, Options};
use super::quantity::{Outputs, Quantity, port};
use crate::tensors::Tensors;

/// The relations of the reference.
pub const RELATION: OptionSpec = OptionSpec {
    name: "relation",
    kind: Kind::Choice(&[
        "cosine",
        "inner-product",
        "squared-euclidean",
        "euclidean",
        "rbf",
    ]),
    default: "cosine",
};
/// The bandwidth of `rbf`.
pub const BANDWIDTH: OptionSpec = OptionSpec {
    name: "bandwidth",
    kind: Kind::Positive,
    default: "1",
};

/// The structural loss with both gradients and both affinity matrices.
pub const STRUCTURAL_LOSS: Quantity = Quantity {
    name: "structural-loss",
    formula: &[
        "loss = eta/B² Σ_ij D(M_ij − M̂_ij), or eta/(B(B−1)) Σ_{i≠j} with diagonal=exclude",
        "M of `real`, M̂ of `generated`; rbf: exp(−‖ψ_i−ψ_j‖²/(2·bandwidth²))",
        "D(e) = e², |e|, or huber: e²/2 for |e| ≤ delta, delta(|e| − delta/2) beyond",
    ],
    inputs: &[port("real", &["B", "d"]), port("generated", &["B", "d"])],
    optional: &[],
    options: &[
        RELATION,
        BANDWIDTH,
        OptionSpec {
            name: "distance",
            kind: Kind::Choice(&["squared", "absolute", "huber"]),
            default: "squared",
        },
        OptionSpec {
            name: "delta",
            kind: Kind::Positive,
            default: "1",
        },
        OptionSpec {
            name: "eta",
            kind: Kind::NonNegative,
            default: "1",
        },
        OptionSpec {
            name: "diagonal",
            kind: Kind::Choice(&["include", "exclude"]),
            default: "include",
        },
    ],
    outputs: &[
        port("loss", &["1"]),
        port("grad_real", &["B", "d"]),
        port("grad_generated", &["B", "d"]),
        port("affinity_real", &["B", "B"]),
        port("affinity_generated", &["B", "B"]),
    ],
    compute: loss,
};

fn loss(inputs: &Tensors, options: &Options) -> Result<Outputs> {
    let real = matrix(inputs, "real")?;
    let generated = matrix(inputs, "generated")?;
    let structure = StructureOptions {
        relation: relation(options)?,
        distance: distance(options)?,
        diagonal: options.word("diagonal").parse()?,
    };
    let answer = structural_loss(&real, &generated, &[options.number("eta")], &structure)?;
    Ok(vec![
        Array1::from(vec![answer.loss]).into_dyn(),
        answer.grad_real.into_dyn(),
        answer.grad_generated.into_dyn(),
        answer.affinity_real.into_dyn(),
        answer.affinity_generated.into_dyn(),
    ])
}

/// A tensor of two axes as such.
pub fn matrix(inputs: &Tensors, name: &str) -> Result<Array2<f64>> {
    inputs[name]
        .clone()
        .into_dimensionality::<Ix2>()
        .with_context(|| format!("tensor `{name}` is no matrix"))
}

/// The relation that the options name.
pub fn relation(options: &Options) -> Result<Relation> {
    Ok(match options.word("relation") {
        "rbf" => Relation::Rbf {
            bandwidth: options.number("bandwidth"),
        },
        name => name.parse()?,
    })
}

fn distance(options: &Options) -> Result<Distance> {
    Ok(match options.word("distance") {
        "huber" => Distance::Huber {
            delta: options.number("delta"),
        },
        name => name.parse()?,
    })
}
