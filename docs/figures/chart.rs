//! Axes and curves.

use anyhow::Result;
use plotters::prelude::*;

use super::svg::{Colour, INK, Stroke, ZOOM, draw, drawing};

/// Size of a panel in the units of its fonts.
const SIZE: (u32, u32) = (400, 290);

/// One axis: its label with the unit, and its range.
#[derive(Debug, Clone)]
pub struct Axis {
    label: String,
    low: f64,
    high: f64,
    powers: bool,
}

impl Axis {
    /// An axis of equal steps.
    pub fn linear(label: &str, low: f64, high: f64) -> Self {
        let label = label.to_owned();
        Self {
            label,
            low,
            high,
            powers: false,
        }
    }

    /// An axis of powers of ten.
    pub fn log(label: &str, low: f64, high: f64) -> Self {
        Self {
            powers: true,
            ..Self::linear(label, low.log10(), high.log10())
        }
    }

    /// Where a value lies; NaN where it has no place.
    fn place(&self, value: f64) -> f64 {
        if self.powers { value.log10() } else { value }
    }

    fn holds(&self, place: f64) -> bool {
        let room = 1e-9 * (self.high - self.low);
        place >= self.low - room && place <= self.high + room
    }

    fn tick(&self, place: f64) -> String {
        if !self.powers {
            return number(place);
        }
        if (place - place.round()).abs() > 1e-6 {
            return String::new();
        }
        let exponent = format!("{:.0}", place.round());
        let raised = exponent.chars().map(|c| match c {
            '-' => '⁻',
            '0' => '⁰',
            '1' => '¹',
            '2' => '²',
            '3' => '³',
            digit => {
                char::from_u32(u32::from(digit) - u32::from('4') + u32::from('⁴')).unwrap_or(digit)
            }
        });
        format!("10{}", raised.collect::<String>())
    }
}

/// A number with at most three decimals and a real minus sign.
pub fn number(value: f64) -> String {
    let digits = format!("{value:.3}");
    let digits = digits.trim_end_matches('0').trim_end_matches('.');
    match digits.strip_prefix('-') {
        Some("0") => "0".to_owned(),
        Some(size) => format!("−{size}"),
        None => digits.to_owned(),
    }
}

/// One curve.
#[derive(Debug, Clone)]
pub struct Series {
    /// What the key says; empty for a curve that belongs to the one before.
    pub label: String,
    /// Its colour.
    pub colour: Colour,
    /// Its stroke.
    pub stroke: Stroke,
    /// Its points.
    pub points: Vec<(f64, f64)>,
}

impl Series {
    /// A curve through these points.
    pub fn new(label: &str, colour: Colour, stroke: Stroke, points: Vec<(f64, f64)>) -> Self {
        Self {
            label: label.to_owned(),
            colour,
            stroke,
            points,
        }
    }
}

/// Axes with curves.
#[derive(Debug, Clone)]
pub struct Panel {
    /// What it shows, above it.
    pub title: String,
    /// Horizontal axis.
    pub x: Axis,
    /// Vertical axis.
    pub y: Axis,
    /// What is drawn, the last on top.
    pub series: Vec<Series>,
}

impl Panel {
    /// The picture; `alt` is what a reader hears who cannot see it.
    ///
    /// # Errors
    /// If plotters cannot draw it.
    pub fn svg(&self, alt: &str) -> Result<String> {
        draw(SIZE, alt, |root| {
            let mut chart = ChartBuilder::on(root)
                .margin(8 * ZOOM)
                .margin_right(16 * ZOOM)
                .x_label_area_size(44 * ZOOM)
                .y_label_area_size(62 * ZOOM)
                .build_cartesian_2d(self.x.low..self.x.high, self.y.low..self.y.high)
                .map_err(drawing)?;
            let font = |size: u32| ("sans-serif", size * ZOOM).into_font().color(&INK);
            chart
                .configure_mesh()
                .axis_style(INK.stroke_width(ZOOM))
                .bold_line_style(INK.mix(0.15).stroke_width(ZOOM))
                .light_line_style(TRANSPARENT)
                .label_style(font(14))
                .axis_desc_style(font(15))
                .x_labels(ticks(&self.x))
                .y_labels(ticks(&self.y))
                .x_label_formatter(&|x| self.x.tick(*x))
                .y_label_formatter(&|y| self.y.tick(*y))
                .x_desc(self.x.label.as_str())
                .y_desc(self.y.label.as_str())
                .set_all_tick_mark_size(4 * ZOOM)
                .draw()
                .map_err(drawing)?;
            for series in &self.series {
                let pen = series.stroke.marked(series.colour).stroke_width(2 * ZOOM);
                match series.stroke {
                    Stroke::Dots | Stroke::Discs => {
                        let size = if series.stroke == Stroke::Dots { 3 } else { 6 };
                        let dots = self.runs(series).into_iter().flatten();
                        let dot = |p| Circle::new(p, size * ZOOM, series.colour.rgb().filled());
                        chart.draw_series(dots.map(dot)).map_err(drawing)?;
                    }
                    Stroke::Arrows => {
                        for ends in series.points.chunks_exact(2) {
                            let arrow = self.arrow(ends[0], ends[1]);
                            let lines = arrow.map(|line| PathElement::new(line, pen));
                            chart.draw_series(lines).map_err(drawing)?;
                        }
                    }
                    Stroke::Solid | Stroke::Dashed | Stroke::Dotted => {
                        let runs = self.runs(series).into_iter();
                        let lines = runs.map(|run| PathElement::new(run, pen));
                        chart.draw_series(lines).map_err(drawing)?;
                    }
                }
            }
            Ok(())
        })
    }

    /// The parts of a curve inside the axes, cut where it leaves them.
    fn runs(&self, series: &Series) -> Vec<Vec<(f64, f64)>> {
        let inside = |&(x, y): &(f64, f64)| self.x.holds(x) && self.y.holds(y);
        let place = |&(x, y): &(f64, f64)| (self.x.place(x), self.y.place(y));
        let places: Vec<_> = series.points.iter().map(place).collect();
        let mut runs = vec![Vec::new()];
        for (k, p) in places.iter().enumerate() {
            let before = k.checked_sub(1).map(|k| places[k]);
            let run = runs.last_mut().expect("never empty");
            if inside(p) {
                if let (true, Some(from)) = (run.is_empty(), before) {
                    run.extend(self.crossing(*p, from));
                }
                run.push(*p);
            } else if let (false, Some(from)) = (run.is_empty(), before) {
                run.extend(self.crossing(from, *p));
                runs.push(Vec::new());
            }
        }
        runs.retain(|run| !run.is_empty());
        runs
    }

    /// Where the line from a point inside to one outside meets the frame; nothing if the outer one has no place.
    fn crossing(&self, inner: (f64, f64), outer: (f64, f64)) -> Option<(f64, f64)> {
        let (dx, dy) = (outer.0 - inner.0, outer.1 - inner.1);
        let part = |from: f64, step: f64, axis: &Axis| {
            if step > 0.0 {
                (axis.high - from) / step
            } else if step < 0.0 {
                (axis.low - from) / step
            } else {
                f64::INFINITY
            }
        };
        let s = part(inner.0, dx, &self.x).min(part(inner.1, dy, &self.y));
        (s.is_finite() && dx.is_finite() && dy.is_finite())
            .then_some((inner.0 + s * dx, inner.1 + s * dy))
    }

    /// A shaft and the two halves of its head, at right angles as the page shows them.
    fn arrow(&self, from: (f64, f64), to: (f64, f64)) -> [Vec<(f64, f64)>; 2] {
        let (wide, high) = (self.x.high - self.x.low, self.y.high - self.y.low);
        let (dx, dy) = ((to.0 - from.0) / wide, (to.1 - from.1) / high * 0.7);
        let length = dx.hypot(dy).max(f64::MIN_POSITIVE);
        let (ux, uy) = (dx / length, dy / length);
        let barb = |side: f64| {
            let (bx, by) = (-ux - side * uy * 0.6, -uy + side * ux * 0.6);
            (to.0 + 0.028 * bx * wide, to.1 + 0.028 * by * high / 0.7)
        };
        [vec![from, to], vec![barb(1.0), to, barb(-1.0)]]
    }
}

/// How many labels an axis asks for.
fn ticks(axis: &Axis) -> usize {
    if !axis.powers {
        return 6;
    }
    let decades = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0, 7.0, 8.0];
    let spanned = decades.iter().filter(|d| **d <= axis.high - axis.low);
    spanned.count().max(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn panel(points: Vec<(f64, f64)>) -> Panel {
        Panel {
            title: String::new(),
            x: Axis::linear("x", 0.0, 4.0),
            y: Axis::linear("y", 0.0, 1.0),
            series: vec![Series::new("a", Colour::Blue, Stroke::Dashed, points)],
        }
    }

    #[test]
    fn a_curve_is_cut_where_it_leaves_the_frame() {
        let p = panel(vec![
            (0.0, 0.5),
            (1.0, 1.5),
            (2.0, 1.5),
            (3.0, 0.5),
            (4.0, 0.5),
        ]);
        let runs = p.runs(&p.series[0]);
        let want = [
            vec![(0.0, 0.5), (0.5, 1.0)],
            vec![(2.5, 1.0), (3.0, 0.5), (4.0, 0.5)],
        ];
        assert_eq!(runs, want);
    }

    #[test]
    fn a_value_without_a_place_breaks_the_curve() {
        let p = panel(vec![(0.0, 0.5), (1.0, f64::NAN), (2.0, 0.25)]);
        assert_eq!(p.runs(&p.series[0]), [vec![(0.0, 0.5)], vec![(2.0, 0.25)]]);
    }

    #[test]
    fn the_picture_takes_the_colour_of_the_text_and_fits_one_line() {
        let svg = panel(vec![(0.0, 0.5), (4.0, 0.75)])
            .svg("a < b")
            .expect("drawn");
        assert!(svg.contains("currentColor") && !svg.contains('\n'));
        assert!(svg.contains("<title>a &lt; b</title>"));
        assert!(
            svg.contains("stroke=\"#1F83C4\" stroke-dasharray=\"80 50\""),
            "{svg}"
        );
        assert!(!svg.contains("#0201"), "a marked colour was left");
    }

    #[test]
    fn ticks_are_read_as_they_are_written() {
        assert_eq!(Axis::log("", 1e-3, 10.0).tick(-3.0), "10⁻³");
        assert_eq!(Axis::log("", 1e-3, 1e5).tick(5.0), "10⁵");
        assert_eq!(Axis::log("", 1e-3, 10.0).tick(-2.5), "");
        assert_eq!(
            [number(-0.25), number(-0.0), number(2.0)],
            ["−0.25", "0", "2"]
        );
    }
}
