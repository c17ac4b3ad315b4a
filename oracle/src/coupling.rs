//! `assignment`: which noise optimal transport gives to which image, with the potentials that prove it.

use anyhow::{Context, Result, bail};
use ndarray::{Array1, CowArray, Ix2};
use sadm_reference::coupling::{Cost, assign, costs};

use crate::options::{Kind, OptionSpec, Options};
use crate::quantity::{Outputs, Quantity, port};
use crate::schedule::column;
use crate::tensors::{LABELS, Tensors};

/// The assignment of least total cost.
pub const ASSIGNMENT: Quantity = Quantity {
    name: "assignment",
    formula: &[
        "permutation = argmin_π Σ_i c(x_i, ε_π(i)),  total = Σ_i c(x_i, ε_π(i)),  c = ‖x − ε‖, or ‖x − ε‖² with squared-euclidean",
        "dual_images u, dual_noise v: u_i + v_j ≤ c(x_i, ε_j), with equality for j = π(i), so total = Σ u + Σ v is the least",
        "with labels (whole numbers) an image gets a noise that was given beside an image of its own class, and u + v ≤ c inside",
        "each class",
    ],
    inputs: &[port("images", &["N", "…"]), port("noise", &["N", "…"])],
    optional: &[port(LABELS, &["N"])],
    options: &[OptionSpec::new(
        "cost",
        Kind::Choice(|| vec!["euclidean", "squared-euclidean"]),
        "euclidean",
    )],
    outputs: &[
        port("permutation", &["N"]),
        port("total", &["1"]),
        port("dual_images", &["N"]),
        port("dual_noise", &["N"]),
    ],
    compute: assignment,
    bounds: None,
    note: None,
};

fn assignment(inputs: &Tensors<'_>, options: &Options) -> Result<Outputs> {
    let (images, noise) = (rows(inputs, "images")?, rows(inputs, "noise")?);
    let cost: Cost = options.word("cost").parse()?;
    let costs = costs(images.view(), noise.view(), cost)?;
    let classes = inputs.get(LABELS).map(|labels| {
        let labels = column(labels)?;
        let class =
            |(at, label): (usize, &f64)| whole(*label).with_context(|| format!("at [{at}]"));
        labels
            .iter()
            .enumerate()
            .map(class)
            .collect::<Result<Vec<u32>>>()
    });
    let best = assign(&costs, classes.transpose()?.as_deref())?;
    let list = |values: Vec<f64>| Array1::from(values).into_dyn();
    Ok(vec![
        list(best.permutation.iter().map(|&noise| noise as f64).collect()),
        list(vec![best.total]),
        list(best.dual_images),
        list(best.dual_noise),
    ])
}

/// A tensor `[N, …]` as a matrix `[N, d]`.
fn rows<'a>(inputs: &'a Tensors<'_>, name: &str) -> Result<CowArray<'a, f64, Ix2>> {
    let x = &inputs[name];
    let count = x.shape()[0];
    let shape = (count, x.len() / count);
    let flat = x.to_shape(shape);
    flat.with_context(|| format!("tensor `{name}` has no rows"))
}

/// A class as a number of classes.
#[expect(
    clippy::cast_possible_truncation,
    clippy::cast_sign_loss,
    reason = "a whole number from 0 to 2³² − 1"
)]
fn whole(label: f64) -> Result<u32> {
    if label < 0.0 || label > f64::from(u32::MAX) || label.fract() != 0.0 {
        bail!(
            "tensor `{LABELS}` must hold whole numbers from 0 to {}, got {label}",
            u32::MAX
        );
    }
    Ok(label as u32)
}
