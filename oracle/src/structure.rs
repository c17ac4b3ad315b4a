//! `structural-loss`: how far apart the relations inside two batches are.

use std::collections::BTreeMap;

use anyhow::{Context, Result, anyhow};
use ndarray::{Array1, ArrayRef2, ArrayView2, Ix2};
use sadm_reference::bound::{Precision, structure as bound};
use sadm_reference::choice::{Choice, Slot};
use sadm_reference::distance::Distance;
use sadm_reference::polarised::{Form, polarised_loss};
use sadm_reference::relation::{Relation, Rows, affinity};
use sadm_reference::structure::{StructureError, StructureOptions, structural_loss};

use crate::options::{Kind, OptionSpec, Options};
use crate::quantity::{Outputs, Quantity, port};
use crate::tensors::Tensors;

/// The relations of the reference.
pub const RELATION: OptionSpec =
    OptionSpec::new("relation", Kind::Choice(Relation::names), "cosine");
/// The bandwidth of relations that have one.
pub const BANDWIDTH: OptionSpec = OptionSpec::new("bandwidth", Kind::Positive, "1")
    .only_with("relation", || Relation::names_with("bandwidth"));

/// The structural loss with both gradients and both affinity matrices.
pub const STRUCTURAL_LOSS: Quantity = Quantity {
    name: "structural-loss",
    formula: &[
        "loss = eta/B² Σ_ij D(M_ij − M̂_ij), or eta/(B(B−1)) Σ_{i≠j} with diagonal=exclude",
        "M of `real`, M̂ of `generated`; rbf: exp(−‖ψ_i−ψ_j‖²/(2·bandwidth²))",
        "D(e) = e², |e|, or huber: e²/2 for |e| ≤ delta, delta(|e| − delta/2) beyond",
        "cosine and inner-product with squared: M − M̂ = ½(P Sᵀ + S Pᵀ), P = Ψ − Ψ̂, S = Ψ + Ψ̂ (unit rows under cosine),",
        "so that no digits are lost at generated ≈ real; for all, the JSON's `bounds` gives the rounding bound of the loss",
    ],
    inputs: &[port("real", &["B", "d"]), port("generated", &["B", "d"])],
    optional: &[],
    options: &[
        RELATION,
        BANDWIDTH,
        OptionSpec::new("distance", Kind::Choice(Distance::names), "squared"),
        OptionSpec::new("delta", Kind::Positive, "1")
            .only_with("distance", || Distance::names_with("delta")),
        OptionSpec::new("eta", Kind::NonNegative, "1"),
        OptionSpec::new(
            "diagonal",
            Kind::Choice(|| vec!["include", "exclude"]),
            "include",
        ),
    ],
    outputs: &[
        port("loss", &["1"]),
        port("grad_real", &["B", "d"]),
        port("grad_generated", &["B", "d"]),
        port("affinity_real", &["B", "B"]),
        port("affinity_generated", &["B", "B"]),
    ],
    compute: loss,
    bounds: Some(bounds),
    note: None,
};

fn loss(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let real = matrix(inputs, "real")?;
    let generated = matrix(inputs, "generated")?;
    let (eta, structure) = ([options.number("eta")], choices(options)?);
    let (loss, grad_real, grad_generated, affinities) = if polarised(&structure) {
        let answer = polarised_loss(&real, &generated, &eta, &structure, Form::Batch)
            .map_err(|refused| explain(refused, &real, &generated, &structure))?;
        let of = |psi| affinity(structure.relation, psi);
        let affinities = [of(&real)?, of(&generated)?];
        (
            answer.loss,
            answer.grad_real,
            answer.grad_generated,
            affinities,
        )
    } else {
        let answer = structural_loss(&real, &generated, &eta, &structure)
            .map_err(|refused| explain(refused, &real, &generated, &structure))?;
        let affinities = [answer.affinity_real, answer.affinity_generated];
        (
            answer.loss,
            answer.grad_real,
            answer.grad_generated,
            affinities,
        )
    };
    let [affinity_real, affinity_generated] = affinities;
    Ok(vec![
        Array1::from(vec![loss]).into_dyn(),
        grad_real.into_dyn(),
        grad_generated.into_dyn(),
        affinity_real.into_dyn(),
        affinity_generated.into_dyn(),
    ])
}

/// The rounding bound of [`loss`].
fn bounds(inputs: &Tensors<'_>, options: &Options) -> Result<BTreeMap<&'static str, f64>> {
    let [real, generated] =
        [matrix(inputs, "real")?, matrix(inputs, "generated")?].map(|x| x.to_owned());
    let (eta, structure, host) = ([options.number("eta")], choices(options)?, Precision::F64);
    let loss = if polarised(&structure) {
        bound::polarised_loss(&real, &generated, &eta, &structure, Form::Batch, host)?.loss
    } else {
        bound::structural_loss(&real, &generated, &eta, &structure, host)?.loss
    };
    Ok(loss
        .error
        .first()
        .map(|error| ("loss", *error))
        .into_iter()
        .collect())
}

fn choices(options: &Options) -> Result<StructureOptions> {
    Ok(StructureOptions {
        relation: relation(options)?,
        distance: chosen(options, "distance")?,
        diagonal: options.word("diagonal").parse()?,
    })
}

/// Whether the loss has the form that does not cancel.
fn polarised(structure: &StructureOptions) -> bool {
    structure.relation.rows().is_some() && structure.distance == Distance::SQUARED
}

/// An overflow with the row that most probably caused it: the shortest under cosine, whose gradient grows as the
/// row shrinks, the one with the largest feature otherwise.
fn explain(
    refused: StructureError,
    real: &ArrayRef2<f64>,
    generated: &ArrayRef2<f64>,
    structure: &StructureOptions,
) -> anyhow::Error {
    if refused != StructureError::Overflow {
        return refused.into();
    }
    let rows = [("real", real), ("generated", generated)]
        .into_iter()
        .flat_map(|(name, psi)| {
            let rows = psi.rows().into_iter().enumerate();
            rows.map(move |(row, x)| (x.fold(0.0_f64, |m, v| m.max(v.abs())), name, row))
        });
    if structure.relation.rows() == Some(Rows::Unit) {
        match rows.min_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((size, name, row)) => anyhow!(
                "the gradients grow with 1/‖row‖ under cosine and overflow: row {row} of `{name}` reaches {size:e} \
                 only; scale that row (its cosines stay the same) or lower eta"
            ),
            None => refused.into(),
        }
    } else {
        match rows.max_by(|a, b| a.0.total_cmp(&b.0)) {
            Some((size, name, row)) => anyhow!(
                "the loss or its gradients overflow: row {row} of `{name}` reaches {size:e}; scale the features down, \
                 or lower eta"
            ),
            None => refused.into(),
        }
    }
}

/// A tensor of two axes as such.
pub fn matrix<'a>(inputs: &'a Tensors<'_>, name: &str) -> Result<ArrayView2<'a, f64>> {
    inputs[name]
        .view()
        .into_dimensionality::<Ix2>()
        .with_context(|| format!("tensor `{name}` is no matrix"))
}

/// The relation that the options name.
pub fn relation(options: &Options) -> Result<Relation> {
    chosen(options, "relation")
}

/// The entry of a registry that the option `key` names, with the value of its parameter, an option of that name.
pub fn chosen<T: ?Sized + Slot>(options: &Options, key: &str) -> Result<Choice<T>> {
    let choice: Choice<T> = options.word(key).parse()?;
    Ok(match choice.parameter() {
        Some(parameter) => choice.with(options.number(parameter.name)),
        None => choice,
    })
}
