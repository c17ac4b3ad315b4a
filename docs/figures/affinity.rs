//! Two models with one denoising loss and different tables.

use anyhow::Result;
use ndarray::Array2;
use sadm_reference::denoise::denoising_loss;
use sadm_reference::relation::{Relation, affinity};
use sadm_reference::structure::{StructureOptions, structural_loss};

use super::chart::number;
use super::{Figure, Table};

/// Three groups of three points on the unit circle, each group turned by its own angle, in degrees.
fn groups(turned: [f64; 3]) -> Array2<f64> {
    Array2::from_shape_fn((9, 2), |(i, c)| {
        let (group, member) = (i / 3, i % 3);
        let degrees = 120.0 * group as f64 + 14.0 * (member as f64 - 1.0) + turned[group];
        let (sin, cos) = degrees.to_radians().sin_cos();
        if c == 0 { cos } else { sin }
    })
}

/// Tables of a real batch and of two models.
pub fn two_models() -> Result<Figure> {
    let real = groups([0.0; 3]);
    let losses = |predicted: &Array2<f64>| -> Result<(f64, f64)> {
        let (flat, truth) = (predicted.clone().into_dyn(), real.clone().into_dyn());
        let denoising = denoising_loss(&flat, &truth, &[1.0; 9])?.loss;
        let structure = structural_loss(&real, predicted, &[1.0], &StructureOptions::default())?;
        Ok((denoising, structure.loss))
    };
    let caption = "Affinity matrices (cosine) of nine samples in three groups; blue is 1, orange −1. Model A turns all its \
        predictions by 40°, model B turns each group by 40° but the second one the other way. Image by image both err alike; \
        only the tables tell them apart.";
    let mut figure = Figure::new("affinity", caption);
    for (name, turned) in [
        ("real batch", None),
        ("model A", Some([40.0; 3])),
        ("model B", Some([40.0, -40.0, 40.0])),
    ] {
        let batch = groups(turned.unwrap_or([0.0; 3]));
        let table = affinity(Relation::COSINE, &batch)?;
        let rows: Vec<Vec<f64>> = table.rows().into_iter().map(|r| r.to_vec()).collect();
        let (l, s) = losses(&batch)?;
        let title = match turned {
            None => name.to_owned(),
            Some(_) => format!("{name}: L = {}, S = {}", number(l), number(s)),
        };
        let blocks = "a nine by nine table with blue blocks of three on the diagonal";
        let alt = match name {
            "model B" => {
                format!("{title}: {blocks}; the first and second group are blue to each other too")
            }
            _ => format!("{title}: {blocks}, and orange between different groups"),
        };
        let table = Table {
            rows: &rows,
            full: 1.0,
            numbers: false,
        };
        figure = figure.table(&title, &table, &alt)?;
    }
    Ok(figure)
}
