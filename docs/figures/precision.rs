//! Three ways to compute one number, in f32 and in bf16.

use anyhow::Result;
use ndarray::{Array1, Array2};
use sadm_reference::distance::Distance;
use sadm_reference::polarised::{Form, polarised_loss};
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions};

use super::chart::{Axis, Panel, Series};
use super::svg::{Colour, Stroke};
use super::{Figure, decades};

fn squares(m: &Array2<f32>) -> f32 {
    m.iter().map(|v| v * v).sum()
}

fn wave(frequency: f64) -> Array2<f64> {
    Array2::from_shape_fn((64, 16), |(i, j)| {
        (frequency * (i * 16 + j + 1) as f64).sin()
    })
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "rounding to f32 is what is studied"
)]
fn single(m: &Array2<f64>) -> Array2<f32> {
    m.mapv(|v| v as f32)
}

/// The precision of the operands and results of matrix products; sums are in f32.
#[derive(Clone, Copy)]
enum Precision {
    Single,
    Brain,
}

impl Precision {
    /// Unit roundoff.
    fn unit(self) -> f64 {
        match self {
            Self::Single => f64::from(f32::EPSILON) / 2.0,
            Self::Brain => f64::from(half::bf16::EPSILON) / 2.0,
        }
    }

    fn round(self, m: &Array2<f32>) -> Array2<f32> {
        match self {
            Self::Single => m.clone(),
            Self::Brain => m.mapv(|v| half::bf16::from_f32(v).to_f32()),
        }
    }

    /// aᵀb.
    fn product(self, a: &Array2<f32>, b: &Array2<f32>) -> Array2<f32> {
        self.round(&self.round(a).t().dot(&self.round(b)))
    }
}

/// Two batches at a distance of `size` per entry. The entries of Ψ fall from 1 to 2⁻²² over the columns, so that f32 holds a Ψ̂
/// at every distance shown.
fn batches(size: f64) -> (Array2<f32>, Array2<f32>) {
    let fall = Array1::from_shape_fn(16, |j| (-1.5 * j as f64).exp2());
    let real = wave(0.7) * fall;
    (single(&real), single(&(&real + &(wave(1.3) * size))))
}

/// Relative errors of the naive, the Gram and the polarised form, and κ.
fn errors(size: f64, precision: Precision) -> Result<([f64; 3], f64)> {
    let options = StructureOptions {
        relation: Relation::INNER_PRODUCT,
        distance: Distance::SQUARED,
        diagonal: Diagonal::Include,
    };
    let (r, g) = batches(size);
    let (real, generated) = (r.mapv(f64::from), g.mapv(f64::from));
    let truth = polarised_loss(&real, &generated, &[4096.0], &options, Form::Feature)?.loss;
    let table = real.dot(&real.t()).mapv(|v| v * v).sum();
    let product = |a: &Array2<f32>, b: &Array2<f32>| precision.product(a, b);
    let turned = |m: &Array2<f32>| m.t().to_owned();
    let affinity = |m: &Array2<f32>| product(&turned(m), &turned(m));
    let naive = squares(&(affinity(&r) - affinity(&g)));
    let gram =
        squares(&product(&r, &r)) - 2.0 * squares(&product(&r, &g)) + squares(&product(&g, &g));
    let (p, s) = (&r - &g, &r + &g);
    let (pp, ss, ps) = (product(&p, &p), product(&s, &s), product(&p, &s));
    let polarised = 0.5 * ((&pp * &ss).sum() + (&ps * &ps.t()).sum());
    let relative = |got: f32| (f64::from(got) / truth - 1.0).abs();
    Ok((
        [naive, gram, polarised].map(relative),
        (table / truth).sqrt(),
    ))
}

/// Errors of the three forms over the distance of the batches.
fn panel(title: &str, precision: Precision, sizes: &[f64]) -> Result<Panel> {
    let all = sizes.iter().map(|&s| Ok((s, errors(s, precision)?)));
    let all = all.collect::<Result<Vec<_>>>()?;
    let form = |k: usize| all.iter().map(|(s, (e, _))| (*s, e[k])).collect();
    let kappa = |f: &dyn Fn(f64) -> f64| all.iter().map(|(s, (_, k))| (*s, f(*k))).collect();
    let unit = precision.unit();
    Ok(Panel {
        title: title.to_owned(),
        x: Axis::log("size of an entry of Ψ − Ψ̂", 1e-8, 1.0),
        y: Axis::log("relative error", 1e-9, 1e9),
        series: vec![
            Series::new(
                "uκ²",
                Colour::Grey,
                Stroke::Dotted,
                kappa(&|k| unit * k * k),
            ),
            Series::new("uκ", Colour::Grey, Stroke::Dashed, kappa(&|k| unit * k)),
            Series::new("Gram form", Colour::Orange, Stroke::Dots, form(1)),
            Series::new("naive form", Colour::Purple, Stroke::Dots, form(0)),
            Series::new("polarised form", Colour::Blue, Stroke::Dots, form(2)),
        ],
    })
}

/// Relative errors over the distance of the two batches.
pub fn three_forms() -> Result<Figure> {
    let sizes = decades(1e-8, 1.0, 80);
    let caption = "Relative error of the squared difference of two tables of inner products as Ψ̂ comes close to Ψ; 64 samples of 16 \
        features, the truth from f64. Left all in f32, right with the operands and the results of every matrix product in bf16. \
        An error of 1 means that nothing is left of the number. The lines are the sizes that the text predicts, uκ for the naive \
        and uκ² for the Gram form; the naive form's roundings are many and partly cancel, so its points lie below. The polarised \
        form does not care how small the difference is. Single points depend on the order in which a machine adds; the picture \
        does not.";
    Figure::new("three-forms", caption)
        .panel(
            &panel("f32", Precision::Single, &sizes)?,
            "towards small differences the error of the Gram form grows with slope minus two until it returns zero, that of the naive form later and lower, and that of the polarised form stays near one part in ten million",
        )?
        .panel(
            &panel("bf16 products", Precision::Brain, &sizes)?,
            "the same curves five decades higher: only the polarised form keeps its digits",
        )
}
