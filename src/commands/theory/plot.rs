//! The two sides of a statement's claims along a parameter, as SVG.

use anyhow::{Result, anyhow, bail};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use sadm_theory::statements::{Evidence, Scale, Sweep};

use super::Chosen;

/// Points along the parameter.
const POINTS: usize = 201;
/// Claims drawn, one panel each.
const PANELS: usize = 4;
/// Size of a panel.
const PANEL: (u32, u32) = (720, 300);
/// Ratio of the greatest to the least value beyond which values are drawn as powers of ten.
const DECADES: f64 = 1e3;
/// Readable on white and on black.
const LEFT: RGBColor = RGBColor(0xd9, 0x5f, 0x02);
const RIGHT: RGBColor = RGBColor(0x1b, 0x7f, 0xb5);

/// Both sides of one claim.
pub struct Curves {
    /// The claim in symbols.
    pub claim: String,
    /// Whether the values are powers of ten: both sides positive, over some decades.
    pub powers: bool,
    /// (place, left side, or its log10) where it is finite.
    pub lhs: Vec<(f64, f64)>,
    /// (place, right side).
    pub rhs: Vec<(f64, f64)>,
}

impl Curves {
    /// One for each claim of a sweep that has the same claims everywhere.
    pub fn all(swept: &Sweep) -> Vec<Self> {
        let claims = swept.iter().map(|(_, e)| e.len()).min().unwrap_or(0);
        (0..claims)
            .map(|k| Self::of(swept, k))
            .filter(|c| c.lhs.len() > 1)
            .collect()
    }

    fn of(swept: &Sweep, k: usize) -> Self {
        let finite: Vec<(f64, &Evidence)> = swept
            .iter()
            .map(|(place, evidence)| (*place, &evidence[k]))
            .filter(|(_, e)| e.lhs.is_finite() && e.rhs.is_finite())
            .collect();
        let sides = || finite.iter().flat_map(|(_, e)| [e.lhs, e.rhs]);
        let (low, high) = extremes(sides());
        let powers = low > 0.0 && high > DECADES * low;
        let drawn = |y: f64| if powers { y.log10() } else { y };
        let side = |of: fn(&Evidence) -> f64| {
            let points = finite.iter().map(|(place, e)| (*place, drawn(of(e))));
            points.collect()
        };
        Self {
            claim: finite
                .first()
                .map(|(_, e)| e.claim.clone())
                .unwrap_or_default(),
            powers,
            lhs: side(|e| e.lhs),
            rhs: side(|e| e.rhs),
        }
    }

    /// Least and greatest value of both sides, with room around them.
    fn span(&self) -> (f64, f64) {
        let (low, high) = extremes(self.lhs.iter().chain(&self.rhs).map(|(_, y)| *y));
        let room = if high > low {
            0.05 * (high - low)
        } else {
            0.5 * high.abs() + 1.0
        };
        (low - room, high + room)
    }
}

/// Least and greatest.
fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| {
        (low.min(y), high.max(y))
    })
}

/// The picture.
pub fn svg(chosen: &Chosen) -> Result<String> {
    let Some((over, swept)) = chosen.sweep(POINTS)? else {
        bail!("`{}` has no parameter to plot over", chosen.statement.id());
    };
    let mut panels = Curves::all(&swept);
    panels.truncate(PANELS);
    let count = u32::try_from(panels.len())?;
    if count == 0 {
        bail!(
            "`{}` has no finite values over {}",
            chosen.statement.id(),
            over.name
        );
    }
    let mut picture = String::new();
    {
        let root =
            SVGBackend::with_string(&mut picture, (PANEL.0, PANEL.1 * count)).into_drawing_area();
        root.fill(&WHITE).map_err(drawing)?;
        for (area, curves) in root.split_evenly((panels.len(), 1)).iter().zip(&panels) {
            match over.scale {
                Scale::Log => panel(area, curves, over.name, (over.low..over.high).log_scale())?,
                Scale::Linear | Scale::Integer => {
                    panel(area, curves, over.name, over.low..over.high)?;
                }
            }
        }
        root.present().map_err(drawing)?;
    }
    Ok(picture)
}

fn panel<X>(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    curves: &Curves,
    name: &str,
    x: X,
) -> Result<()>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (low, high) = curves.span();
    let mut chart = ChartBuilder::on(area)
        .caption(&curves.claim, ("sans-serif", 16))
        .margin(10)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(x, low..high)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_desc(name)
        .y_label_formatter(&|y| label(*y, curves.powers))
        .light_line_style(TRANSPARENT)
        .draw()
        .map_err(drawing)?;
    for (side, label, colour, width) in [
        (&curves.rhs, "right", RIGHT, 4),
        (&curves.lhs, "left", LEFT, 2),
    ] {
        chart
            .draw_series(LineSeries::new(
                side.iter().copied(),
                colour.stroke_width(width),
            ))
            .map_err(drawing)?
            .label(label)
            .legend(move |(x, y)| {
                PathElement::new([(x, y), (x + 18, y)], colour.stroke_width(width))
            });
    }
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(drawing)
}

fn label(y: f64, power: bool) -> String {
    let value = if power { 10_f64.powf(y) } else { y };
    format!("{value:.2e}")
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}
