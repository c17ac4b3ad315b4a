//! Three ways to compute one number in f32.

use anyhow::Result;
use ndarray::Array2;
use sadm_reference::distance::Distance;
use sadm_reference::polarised::{Form, polarised_loss};
use sadm_reference::relation::Relation;
use sadm_reference::structure::{Diagonal, StructureOptions};

use super::chart::{Axis, Panel, Series};
use super::svg::{Colour, Stroke};
use super::{Figure, decades};

/// Unit roundoff of f32.
const UNIT: f64 = f32::EPSILON as f64 / 2.0;

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

/// Relative errors of the naive, the Gram and the polarised form, and κ.
fn errors(size: f64) -> Result<([f64; 3], f64)> {
    let options = StructureOptions {
        relation: Relation::InnerProduct,
        distance: Distance::Squared,
        diagonal: Diagonal::Include,
    };
    let (r, g) = (single(&wave(0.7)), single(&(wave(0.7) + wave(1.3) * size)));
    let (real, generated) = (r.mapv(f64::from), g.mapv(f64::from));
    let truth = polarised_loss(&real, &generated, &[4096.0], &options, Form::Feature)?.loss;
    let table = real.dot(&real.t()).mapv(|v| v * v).sum();
    let naive = squares(&(r.dot(&r.t()) - g.dot(&g.t())));
    let gram = squares(&r.t().dot(&r)) - 2.0 * squares(&r.t().dot(&g)) + squares(&g.t().dot(&g));
    let (p, s) = (&r - &g, &r + &g);
    let (pp, ss, ps) = (p.t().dot(&p), s.t().dot(&s), p.t().dot(&s));
    let polarised = 0.5 * ((&pp * &ss).sum() + (&ps * &ps.t()).sum());
    let relative = |got: f32| (f64::from(got) / truth - 1.0).abs();
    Ok((
        [naive, gram, polarised].map(relative),
        (table / truth).sqrt(),
    ))
}

/// Relative errors over the distance of the two batches.
pub fn three_forms() -> Result<Figure> {
    let sizes = decades(1e-7, 1.0, 70);
    let all = sizes.iter().map(|&s| Ok((s, errors(s)?)));
    let all = all.collect::<Result<Vec<_>>>()?;
    let form = |k: usize| all.iter().map(|(s, (e, _))| (*s, e[k])).collect();
    let kappa = |f: &dyn Fn(f64) -> f64| all.iter().map(|(s, (_, k))| (*s, f(*k))).collect();
    let panel = Panel {
        title: String::new(),
        x: Axis::log("relative size of the difference P", 1e-7, 1.0),
        y: Axis::log("relative error in f32", 1e-9, 1e7),
        series: vec![
            Series::new(
                "uκ²",
                Colour::Grey,
                Stroke::Dotted,
                kappa(&|k| UNIT * k * k),
            ),
            Series::new("uκ", Colour::Grey, Stroke::Dashed, kappa(&|k| UNIT * k)),
            Series::new("Gram form", Colour::Orange, Stroke::Dots, form(1)),
            Series::new("naive form", Colour::Purple, Stroke::Dots, form(0)),
            Series::new("polarised form", Colour::Blue, Stroke::Dots, form(2)),
        ],
    };
    let caption = "Relative error, in f32, of the squared difference of two tables of inner products; 64 samples of 16 \
        features; the truth from f64. The lines are the sizes that the text predicts, uκ for the naive and uκ² for the Gram form; \
        the naive form's roundings are many and partly cancel, so its points lie below. The polarised form does not care how \
        small the difference is. Single points depend on the order in which a machine adds; the picture does not.";
    Figure::new("three-forms", caption).panel(
        &panel,
        "towards small differences the error of the Gram form grows with slope minus two, that of the naive form later and lower, and that of the polarised form stays near one part in ten million",
    )
}
