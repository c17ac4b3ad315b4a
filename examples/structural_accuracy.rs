//! Relative error of three forms of the structural loss as Ψ̂ comes close to Ψ, as a table and a figure.
//!
//! ```text
//! cargo run --release --example structural_accuracy -- accuracy.svg
//! ```
//! Inner products, squared distance, |B| = 64, d = 32. Both sides are given the same f32 features; their entries
//! have many magnitudes, so that f32 can hold a Ψ̂ at any of the distances. The truth is the polarised form in f64.
//! In bf16 the operands and the results of matrix products are rounded to bf16, sums are not.

use candle_core::{DType, Device, Tensor};
use ndarray::Array2;
use plotters::prelude::*;
use sadm::gpu::random::Streams;
use sadm::gpu::structure::{Relation, StructureOptions, structural_loss};
use sadm::reference;

type Outcome<T> = Result<T, Box<dyn std::error::Error>>;

const BATCH: usize = 64;
const WIDTH: usize = 32;
/// Draws at each distance; the median of their errors is shown.
const DRAWS: u64 = 9;

const FORMS: [&str; 8] = [
    "naive, f32",
    "Gram, f32",
    "polarised |B|×|B|, f32",
    "polarised d×d, f32",
    "naive, bf16",
    "Gram, bf16",
    "polarised |B|×|B|, bf16",
    "polarised d×d, bf16",
];

/// One draw of both batches at a distance of about `size` (in the root mean square over the rows).
fn batches(size: f64, draw: u64) -> (Vec<f32>, Vec<f32>) {
    let streams = Streams::new(draw);
    let count = BATCH * WIDTH;
    let direction = streams.normal("direction", 0, count);
    let scale = (WIDTH as f64).sqrt().recip();
    let real: Vec<f32> = streams
        .normal("real", 0, count)
        .into_iter()
        .zip(streams.uniform("magnitude", 0, count))
        // Magnitudes between 1 and 2⁻²⁴.
        .map(|(x, u)| as_f32(f64::from(x) * (-24.0 * u).exp2()))
        .collect();
    let generated = real
        .iter()
        .zip(direction)
        .map(|(&x, d)| as_f32(f64::from(x) + size * scale * f64::from(d)))
        .collect();
    (real, generated)
}

#[expect(clippy::cast_possible_truncation, reason = "rounding is the purpose")]
fn as_f32(x: f64) -> f32 {
    x as f32
}

fn distance(real: &[f32], generated: &[f32]) -> f64 {
    let squares = real
        .iter()
        .zip(generated)
        .map(|(&x, &y)| (f64::from(x) - f64::from(y)).powi(2));
    (squares.sum::<f64>() / BATCH as f64).sqrt()
}

/// The loss by the polarised form in f64.
fn truth(real: &[f32], generated: &[f32]) -> Outcome<f64> {
    let wide = |x: &[f32]| {
        Array2::from_shape_vec((BATCH, WIDTH), x.iter().copied().map(f64::from).collect())
    };
    let options = reference::structure::StructureOptions {
        relation: "inner-product".parse()?,
        distance: reference::distance::Distance::SQUARED,
        diagonal: reference::structure::Diagonal::Include,
    };
    let form = reference::polarised::Form::Batch;
    let (real, generated) = (wide(real)?, wide(generated)?);
    Ok(reference::polarised::polarised_loss(&real, &generated, &[1.0], &options, form)?.loss)
}

/// The loss in every one of [`FORMS`].
fn losses(real: &[f32], generated: &[f32]) -> Outcome<[f64; 8]> {
    let matrix = |x: &[f32]| Tensor::from_slice(x, (BATCH, WIDTH), &Device::Cpu);
    let (real, generated) = (matrix(real)?, matrix(generated)?);
    let options = StructureOptions {
        relation: Relation::INNER_PRODUCT,
        ..StructureOptions::default()
    };
    let own = |x: &Tensor, y: &Tensor| -> Outcome<f64> {
        value(&structural_loss(x, y, &[1.0], &options)?)
    };
    // Zero features change nothing but the form that is taken.
    let wider = |x: &Tensor| x.pad_with_zeros(1, 0, BATCH);
    let none = |x: Tensor| Ok(x);
    let half = |x: Tensor| x.to_dtype(DType::BF16)?.to_dtype(DType::F32);
    Ok([
        naive(&real, &generated, none)?,
        gram(&real, &generated, none)?,
        own(&wider(&real)?, &wider(&generated)?)?,
        own(&real, &generated)?,
        naive(&real, &generated, half)?,
        gram(&real, &generated, half)?,
        polarised_batch(&real, &generated, half)?,
        polarised_feature(&real, &generated, half)?,
    ])
}

fn value(x: &Tensor) -> Outcome<f64> {
    Ok(x.to_dtype(DType::F64)?.to_scalar::<f64>()?)
}

type Rounding = fn(Tensor) -> candle_core::Result<Tensor>;

fn pairs(sum: &Tensor) -> Outcome<f64> {
    Ok(value(sum)? / (BATCH * BATCH) as f64)
}

/// ‖ΨΨᵀ − Ψ̂Ψ̂ᵀ‖²/B².
fn naive(real: &Tensor, generated: &Tensor, round: Rounding) -> Outcome<f64> {
    let m = |x: &Tensor| {
        let x = round(x.clone())?;
        round(x.matmul(&x.t()?)?)
    };
    pairs(&(m(real)? - m(generated)?)?.sqr()?.sum_all()?)
}

/// (‖ΨᵀΨ‖² − 2 ‖ΨᵀΨ̂‖² + ‖Ψ̂ᵀΨ̂‖²)/B²: d×d matrices, but differences of large numbers.
fn gram(real: &Tensor, generated: &Tensor, round: Rounding) -> Outcome<f64> {
    let (x, y) = (round(real.clone())?, round(generated.clone())?);
    let square = |a: &Tensor, b: &Tensor| round(a.t()?.matmul(b)?)?.sqr()?.sum_all();
    pairs(&((square(&x, &x)? - (square(&x, &y)? * 2.0)?)? + square(&y, &y)?)?)
}

/// ‖½(PSᵀ + SPᵀ)‖²/B² with P and S rounded.
fn polarised_batch(real: &Tensor, generated: &Tensor, round: Rounding) -> Outcome<f64> {
    let (p, s) = (round((real - generated)?)?, round((real + generated)?)?);
    let half = (round(p.matmul(&s.t()?)?)? * 0.5)?;
    pairs(&(&half + half.t()?)?.sqr()?.sum_all()?)
}

/// ½[⟨PᵀP, SᵀS⟩ + tr((PᵀS)²)]/B² with P and S rounded.
fn polarised_feature(real: &Tensor, generated: &Tensor, round: Rounding) -> Outcome<f64> {
    let (p, s) = (round((real - generated)?)?, round((real + generated)?)?);
    let product = |a: &Tensor, b: &Tensor| round(a.t()?.matmul(b)?);
    let cross = product(&p, &s)?;
    let squares = (product(&p, &p)? * product(&s, &s)?)?.sum_all()?;
    let traces = (&cross * cross.t()?)?.sum_all()?;
    pairs(&((squares + traces)? * 0.5)?)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// Distance and the median relative error of every form.
fn row(size: f64) -> Outcome<(f64, [f64; 8])> {
    let mut errors: [Vec<f64>; 8] = Default::default();
    let mut sizes = Vec::new();
    for draw in 0..DRAWS {
        let (real, generated) = batches(size, draw);
        let want = truth(&real, &generated)?;
        for (errors, got) in errors.iter_mut().zip(losses(&real, &generated)?) {
            errors.push((got / want - 1.0).abs());
        }
        sizes.push(distance(&real, &generated));
    }
    Ok((median(sizes), errors.map(median)))
}

fn main() -> Outcome<()> {
    let path = std::env::args()
        .nth(1)
        .ok_or("usage: structural_accuracy FILE.svg")?;
    let rows = (0..=16)
        .map(|k| row(10_f64.powf(-0.5 * f64::from(k))))
        .collect::<Outcome<Vec<_>>>()?;
    println!("| ‖Ψ − Ψ̂‖ | {} |", FORMS.join(" | "));
    println!("|---{}|", "|---".repeat(FORMS.len()));
    for (size, errors) in rows.iter().step_by(2) {
        let errors = errors.map(|e| format!("{e:.0e}"));
        println!("| {size:.0e} | {} |", errors.join(" | "));
    }
    draw(&path, &rows)
}

fn draw(path: &str, rows: &[(f64, [f64; 8])]) -> Outcome<()> {
    let area = SVGBackend::new(path, (900, 560)).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(72)
        .build_cartesian_2d((1e-8..2.0).log_scale(), (1e-9..1e9).log_scale())?;
    let power = |x: &f64| format!("{x:.0e}");
    chart
        .configure_mesh()
        .x_desc("‖Ψ − Ψ̂‖, root mean square over the rows")
        .y_desc("relative error of the loss, median of 9 draws")
        .x_label_formatter(&power)
        .y_label_formatter(&power)
        .label_style(("sans-serif", 14))
        .draw()?;
    for (i, name) in FORMS.iter().enumerate() {
        let color = [
            RGBColor(200, 60, 40),
            RGBColor(220, 150, 20),
            RGBColor(30, 110, 180),
            RGBColor(20, 140, 90),
        ][i % 4];
        // bf16 is the thinner line.
        let style = color.stroke_width(if i < 4 { 3 } else { 1 });
        // An error of 0 has no logarithm; one that is no number is left out of the curve.
        let points = rows.iter().filter(|(_, errors)| !errors[i].is_nan());
        let points = points.map(|(x, errors)| (*x, errors[i].max(1e-9)));
        chart
            .draw_series(LineSeries::new(points, style))?
            .label(*name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 24, y)], style));
    }
    chart
        .configure_series_labels()
        .position(SeriesLabelPosition::UpperRight)
        .background_style(WHITE.mix(0.85))
        .border_style(BLACK.mix(0.3))
        .label_font(("sans-serif", 14))
        .draw()?;
    area.present()?;
    Ok(())
}
