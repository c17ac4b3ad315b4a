//! Curves as SVG that takes its colours from the page, so that it is readable in light and dark.

use maud::{Markup, html};

use super::log::Points;
use crate::axis::Axis;
use crate::short::short;

/// Size of the drawing in its own units; the page scales it.
const SIZE: (f64, f64) = (480.0, 290.0);
/// Left and right end of the horizontal axis, upper and lower end of the vertical one.
const PLOT: [f64; 4] = [62.0, 470.0, 26.0, 246.0];
/// Points drawn of a curve; of more, the least and greatest of each stretch.
const DRAWN: usize = 600;
/// Points that are few enough to be marked.
const FEW: usize = 12;
/// Share of a curve over which its mean is taken.
const WINDOW: usize = 40;
/// Colours of the style sheet.
pub const COLOURS: usize = 8;

/// A curve.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Whose it is.
    pub name: String,
    /// Which colour, and beyond [`COLOURS`] which dashes.
    pub index: usize,
    /// The curve.
    pub points: Points,
    /// Places that no mean is taken across: the phases' ends.
    pub breaks: Vec<f64>,
}

/// Curves over one horizontal axis.
#[derive(Debug, Clone, PartialEq)]
pub struct Chart {
    /// What is drawn.
    pub title: String,
    /// What to know about it.
    pub about: String,
    /// The horizontal axis.
    pub x: &'static str,
    /// The curves; those without points are not drawn.
    pub series: Vec<Series>,
    /// Whether single values scatter, so that their mean is drawn over them and their axis may be logarithmic.
    pub noisy: bool,
    /// A value to compare with, and its name.
    pub line: Option<(f64, &'static str)>,
    /// Names and ends of stretches of the horizontal axis.
    pub bands: Vec<(String, f64, f64)>,
}

impl Chart {
    /// The figure; nothing where no curve has a point.
    pub fn figure(&self) -> Option<Markup> {
        let drawn: Vec<&Series> = self
            .series
            .iter()
            .filter(|s| !s.points.is_empty())
            .collect();
        if drawn.is_empty() {
            return None;
        }
        let points = || drawn.iter().flat_map(|s| s.points.iter());
        let ends = self.bands.iter().flat_map(|band| [band.1, band.2]);
        let x = Axis::of(points().map(|p| p.0).chain(ends), (PLOT[0], PLOT[1]), false);
        let line = self.line.iter().map(|(value, _)| *value);
        let y = Axis::of(
            points().map(|p| p.1).chain(line),
            (PLOT[3], PLOT[2]),
            self.noisy,
        )
        .with_room();
        Some(html! {
            figure.chart {
                figcaption {
                    b { (self.title) }
                    @if y.logarithmic { span.quiet { ", logarithmic" } }
                    @if !self.about.is_empty() { span.quiet { ", " (self.about) } }
                }
                svg viewBox=(format!("0 0 {} {}", SIZE.0, SIZE.1)) role="img" aria-label=(self.title)
                    data-x=(pair(x.ends())) data-plot=(format!("{},{}", PLOT[0], PLOT[1])) {
                    (self.background(&x))
                    (marks(&x, &y))
                    @if let Some((value, name)) = self.line {
                        line.limit x1=(PLOT[0]) x2=(PLOT[1]) y1=(place(y.at(value))) y2=(place(y.at(value))) {}
                        text.limit x=(PLOT[1] - 4.0) y=(place(y.at(value) + 15.0)) text-anchor="end" { (name) }
                    }
                    @for series in &drawn { (self.curve(series, &x, &y)) }
                    text x=(0.5 * (PLOT[0] + PLOT[1])) y=(SIZE.1 - 6.0) text-anchor="middle" { (self.x) }
                    line.cursor y1=(PLOT[2]) y2=(PLOT[3]) {}
                }
                output {}
            }
        })
    }

    fn background(&self, x: &Axis) -> Markup {
        html! {
            @for (number, (name, from, to)) in self.bands.iter().enumerate() {
                @let (left, right) = (x.at(*from), x.at(*to));
                @if number % 2 == 1 {
                    rect.band x=(place(left)) y=(PLOT[2]) width=(place(right - left)) height=(PLOT[3] - PLOT[2]) {}
                }
                // A name that its stretch has no room for is left to the table.
                @if right - left > 7.0 * name.chars().count() as f64 {
                    text.band x=(place(0.5 * (left + right))) y=(PLOT[2] - 8.0) text-anchor="middle" { (name) }
                }
            }
        }
    }

    fn curve(&self, series: &Series, x: &Axis, y: &Axis) -> Markup {
        let class = format!(
            "series c{} d{}",
            series.index % COLOURS,
            series.index / COLOURS % 3
        );
        let raw = thinned(&series.points);
        let window = series.points.len() / WINDOW;
        let mean = (self.noisy && window > 1).then(|| series.means(window));
        html! {
            g class=(class) data-name=(series.name) data-points=(data(&raw)) {
                @if let Some(mean) = mean {
                    polyline.raw points=(path(&raw, x, y)) {}
                    @for part in &mean { polyline points=(path(part, x, y)) {} }
                } @else {
                    polyline points=(path(&raw, x, y)) {}
                    @if raw.len() <= FEW {
                        @for (at, value) in &raw { circle cx=(place(x.at(*at))) cy=(place(y.at(*value))) r="3.5" {} }
                    }
                }
            }
        }
    }
}

impl Series {
    /// The curve's mean, in a part for each stretch between breaks.
    fn means(&self, window: usize) -> Vec<Points> {
        let stretch = |x: f64| self.breaks.iter().filter(|end| **end < x).count();
        self.points
            .chunk_by(|a, b| stretch(a.0) == stretch(b.0))
            .map(|part| thinned(&means(part, window)))
            .collect()
    }
}

/// Grid lines and numbers.
fn marks(x: &Axis, y: &Axis) -> Markup {
    html! {
        @for mark in y.marks() {
            line.grid x1=(PLOT[0]) x2=(PLOT[1]) y1=(place(y.at(mark))) y2=(place(y.at(mark))) {}
            text x=(PLOT[0] - 6.0) y=(place(y.at(mark) + 4.5)) text-anchor="end" { (short(mark)) }
        }
        @for mark in x.marks() {
            line.grid x1=(place(x.at(mark))) x2=(place(x.at(mark))) y1=(PLOT[2]) y2=(PLOT[3]) {}
            text x=(place(x.at(mark))) y=(PLOT[3] + 18.0) text-anchor="middle" { (short(mark)) }
        }
    }
}

fn place(at: f64) -> String {
    format!("{at:.1}")
}

fn pair((a, b): (f64, f64)) -> String {
    format!("{a},{b}")
}

fn path(points: &[(f64, f64)], x: &Axis, y: &Axis) -> String {
    let places = points
        .iter()
        .map(|(a, b)| format!("{:.1},{:.1}", x.at(*a), y.at(*b)));
    places.collect::<Vec<_>>().join(" ")
}

/// What the page shows where one points.
fn data(points: &[(f64, f64)]) -> String {
    let pairs = points.iter().map(|(a, b)| format!("{a:.6e},{b:.4e}"));
    pairs.collect::<Vec<_>>().join(" ")
}

/// The curve, or the least and greatest point of each of equal stretches of it.
fn thinned(points: &[(f64, f64)]) -> Points {
    if points.len() <= DRAWN {
        return points.to_vec();
    }
    let stretch = points.len().div_ceil(DRAWN / 2);
    points
        .chunks(stretch)
        .flat_map(|chunk| {
            let mut places: Vec<usize> = (0..chunk.len()).collect();
            places.sort_by(|a, b| chunk[*a].1.total_cmp(&chunk[*b].1));
            let (least, greatest) = (places[0], places[places.len() - 1]);
            let (first, second) = (least.min(greatest), least.max(greatest));
            let both = [chunk[first], chunk[second]];
            both.into_iter().take(if first == second { 1 } else { 2 })
        })
        .collect()
}

/// The mean of `window` points on either side of each.
fn means(points: &[(f64, f64)], window: usize) -> Points {
    let mut sums = vec![0.0];
    for (_, value) in points {
        sums.push(sums[sums.len() - 1] + value);
    }
    let mean = |i: usize| {
        let (from, to) = (i.saturating_sub(window), (i + window + 1).min(points.len()));
        (sums[to] - sums[from]) / (to - from) as f64
    };
    points
        .iter()
        .enumerate()
        .map(|(i, (x, _))| (*x, mean(i)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thinned_curve_keeps_its_ends_and_its_peaks() {
        let mut points: Points = (0..10_000).map(|i| (f64::from(i), 1.0)).collect();
        points[3_333].1 = 9.0;
        points[7_777].1 = -9.0;
        let drawn = thinned(&points);
        assert!(drawn.len() <= DRAWN, "{}", drawn.len());
        assert!(drawn.contains(&(3333.0, 9.0)) && drawn.contains(&(7777.0, -9.0)));
        assert!(drawn.windows(2).all(|w| w[0].0 < w[1].0), "out of order");
        assert_eq!(drawn[0].0.to_bits(), 0f64.to_bits());
    }

    #[test]
    fn means_of_a_line_lie_on_it() {
        let points: Points = (0..50)
            .map(|i| (f64::from(i), 3.0 * f64::from(i)))
            .collect();
        let means = means(&points, 4);
        for (mean, point) in means.iter().zip(&points).skip(4).take(42) {
            assert!((mean.1 - point.1).abs() < 1e-12);
        }
        // At the start: 0, 3, 6, 9, 12.
        assert!((means[0].1 - 6.0).abs() < 1e-12);
    }

    #[test]
    fn no_mean_is_taken_across_a_phase_s_end() {
        let value = |i: u32| if i <= 50 { 1.0 } else { 9.0 };
        let series = Series {
            name: String::new(),
            index: 0,
            points: (1..=100).map(|i| (f64::from(i), value(i))).collect(),
            breaks: vec![50.0, 100.0],
        };
        let means = series.means(5);
        let ends: Vec<(f64, f64)> = means
            .iter()
            .map(|part| (part[0].0, part[part.len() - 1].0))
            .collect();
        assert_eq!(ends, [(1.0, 50.0), (51.0, 100.0)]);
        assert!(
            means[0].iter().all(|p| (p.1 - 1.0).abs() < 1e-12),
            "{means:?}"
        );
        assert!(
            means[1].iter().all(|p| (p.1 - 9.0).abs() < 1e-12),
            "{means:?}"
        );
    }

    #[test]
    fn names_are_escaped_and_nothing_is_no_figure() {
        let mut chart = Chart {
            title: "a < b".to_owned(),
            about: String::new(),
            x: "steps",
            series: vec![Series {
                name: "\"><script>".to_owned(),
                index: 9,
                points: vec![(1.0, 2.0)],
                breaks: Vec::new(),
            }],
            noisy: true,
            line: None,
            bands: Vec::new(),
        };
        let text = chart.figure().expect("a point").into_string();
        assert!(
            !text.contains("<script") && text.contains("a &lt; b"),
            "{text}"
        );
        assert!(text.contains("circle") && text.contains("c1 d1"), "{text}");
        chart.series[0].points.clear();
        assert!(chart.figure().is_none());
    }
}
