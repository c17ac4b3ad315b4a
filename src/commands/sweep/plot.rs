//! The curves of a sweep as SVG: a panel for each quantity, a line for each sampler.

use anyhow::{Result, anyhow};
use plotters::prelude::*;
use sadm_gpu::sampler::SamplerKind;

use super::cell::Cell;
use crate::axis::logarithmic_marks;
use crate::short::short;

const PANEL: (u32, u32) = (720, 300);
/// How far the axis goes beyond the last point.
const LEGEND: f64 = 1.7;
/// One for each sampler. Readable on white, and told apart by those who see few colours (Okabe and Ito).
const COLOURS: [RGBColor; 5] = [
    RGBColor(0x00, 0x72, 0xb2),
    RGBColor(0xd5, 0x5e, 0x00),
    RGBColor(0x00, 0x9e, 0x73),
    RGBColor(0xcc, 0x79, 0xa7),
    RGBColor(0x56, 0xb4, 0xe9),
];

/// A quantity of a cell, where it has one.
type Of = fn(&Cell) -> Option<f64>;

/// The picture.
///
/// # Errors
/// Nothing to draw.
pub fn svg(cells: &[Cell]) -> Result<String> {
    let all: [(&str, Of); 4] = [
        ("Fréchet distance, encoder features", |c| c.fd_encoder),
        ("Fréchet distance, pixels", |c| Some(c.fd_pixels)),
        ("distance to the fine solution", |c| c.distance),
        ("curvature of the sampler's own path", |c| Some(c.curvature)),
    ];
    let panels: Vec<(&str, Of)> = all
        .into_iter()
        .filter(|(_, of)| cells.iter().any(|c| of(c).is_some_and(drawable)))
        .collect();
    let mut picture = String::new();
    {
        let size = (PANEL.0, PANEL.1 * u32::try_from(panels.len().max(1))?);
        let root = SVGBackend::with_string(&mut picture, size).into_drawing_area();
        root.fill(&WHITE).map_err(drawing)?;
        let areas = root.split_evenly((panels.len().max(1), 1));
        for (area, (name, of)) in areas.iter().zip(panels) {
            panel(area, name, of, cells)?;
        }
        root.present().map_err(drawing)?;
    }
    Ok(picture)
}

/// On a logarithmic axis.
fn drawable(value: f64) -> bool {
    value.is_finite() && value > 0.0
}

fn panel(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    name: &str,
    of: Of,
    cells: &[Cell],
) -> Result<()> {
    let points: Vec<(&str, f64, f64)> = cells
        .iter()
        .filter_map(|c| Some((c.sampler, c.nfe as f64, of(c).filter(|v| drawable(*v))?)))
        .collect();
    let range = |values: &mut dyn Iterator<Item = f64>| {
        values.fold((f64::INFINITY, 0.0_f64), |(low, high), v| {
            (low.min(v), high.max(v))
        })
    };
    let (left, right) = range(&mut points.iter().map(|p| p.1));
    let (low, high) = range(&mut points.iter().map(|p| p.2));
    // The numbers that were asked for are the marks.
    let mut evaluations: Vec<f64> = points.iter().map(|p| p.1).collect();
    evaluations.sort_by(f64::total_cmp);
    evaluations.dedup();
    let mut chart = ChartBuilder::on(area)
        .caption(name, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(
            // Room for the names on the right.
            (left * 0.9..right * LEGEND)
                .log_scale()
                .with_key_points(evaluations),
            (low * 0.8..high * 1.25)
                .log_scale()
                .with_key_points(logarithmic_marks(low * 0.8, high * 1.25)),
        )
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_desc("evaluations of the denoiser")
        .y_label_formatter(&|y| short(*y))
        .x_label_formatter(&|x| short(*x))
        .bold_line_style(BLACK.mix(0.1))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(drawing)?;
    // Narrow lines over wide ones: euler and ddim, one formula, lie on each other.
    let mut samplers: Vec<(usize, SamplerKind)> = SamplerKind::all().enumerate().collect();
    samplers.sort_by_key(|(k, _)| k % 2);
    for (k, sampler) in samplers {
        let own: Vec<(f64, f64)> = points
            .iter()
            .filter(|p| p.0 == sampler.name())
            .map(|p| (p.1, p.2))
            .collect();
        if own.is_empty() {
            continue;
        }
        let colour = COLOURS[k % COLOURS.len()];
        let width = if k % 2 == 0 { 4 } else { 2 };
        chart
            .draw_series(LineSeries::new(own.clone(), colour.stroke_width(width)))
            .map_err(drawing)?
            .label(sampler.name())
            .legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width))
            });
        let points = own
            .into_iter()
            .map(|point| Circle::new(point, width, colour.filled()));
        chart.draw_series(points).map_err(drawing)?;
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(drawing)
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
