//! The two sides of a statement's claims along a parameter, as SVG.

use anyhow::{Result, anyhow, bail};
use plotters::coord::ranged1d::{AsRangedCoord, Ranged, ValueFormatter};
use plotters::prelude::*;
use sadm_theory::statements::{Evidence, Parameter, Scale, Sweep};

use super::Chosen;
use crate::short::short;

/// Points along the parameter.
const POINTS: usize = 201;
/// About how many marks a vertical axis has.
const MARKS: f64 = 10.0;
/// Size of a panel.
const PANEL: (u32, u32) = (720, 300);
/// Ratio of the greatest to the least value beyond which values are drawn as powers of ten.
const DECADES: f64 = 1e3;
/// Relative difference below which all values are drawn as one.
const EQUAL: f64 = 1e-9;
/// Where the legend's part of the horizontal axis begins.
const LAST: f64 = 0.8;
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
    /// One for each claim that a sweep makes at two places or more, in the order of the evidence.
    ///
    /// The k-th piece of evidence may be of another claim on another part of the range; each has its own curves, drawn
    /// where it is made. Claims that differ in numbers only are one, captioned with the range of the numbers.
    pub fn all(swept: &Sweep) -> Vec<Self> {
        let mut claims: Vec<((usize, Vec<String>), Vec<(f64, &Evidence)>)> = Vec::new();
        for (place, evidence) in swept {
            for (k, e) in evidence.iter().enumerate() {
                let key = (k, words(&e.claim).words);
                match claims.iter_mut().find(|(known, _)| *known == key) {
                    Some((_, places)) => places.push((*place, e)),
                    None => claims.push((key, vec![(*place, e)])),
                }
            }
        }
        claims.sort_by_key(|((k, _), _)| *k);
        claims
            .iter()
            .map(|(_, places)| Self::of(places))
            .filter(|c| c.lhs.len() > 1)
            .collect()
    }

    fn of(places: &[(f64, &Evidence)]) -> Self {
        let finite: Vec<(f64, &Evidence)> = places
            .iter()
            .filter(|(_, e)| e.lhs.is_finite() && e.rhs.is_finite())
            .copied()
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
            claim: caption(finite.iter().map(|(_, e)| e.claim.as_str())),
            powers,
            lhs: side(|e| e.lhs),
            rhs: side(|e| e.rhs),
        }
    }

    /// Least and greatest value of both sides, with room around them.
    fn span(&self) -> (f64, f64) {
        let (low, high) = extremes(self.lhs.iter().chain(&self.rhs).map(|(_, y)| *y));
        let size = low.abs().max(high.abs());
        // What the rounding of two equal sides leaves is no shape to look at.
        let room = if high - low > EQUAL * size {
            0.05 * (high - low)
        } else {
            0.5 * size + 1.0
        };
        (low - room, high + room)
    }

    /// The place on the right that the curves are farthest from.
    fn free_place(&self) -> SeriesLabelPosition {
        let (low, high) = self.span();
        let (left, right) = extremes(self.lhs.iter().map(|(place, _)| *place));
        let sides = || self.lhs.iter().chain(&self.rhs);
        let last = || sides().filter(|(place, _)| *place >= left + LAST * (right - left));
        let room = |height: f64| {
            extremes(last().map(|(_, y)| ((y - low) / (high - low) - height).abs())).0
        };
        let places = [
            (room(0.9), SeriesLabelPosition::UpperRight),
            (room(0.5), SeriesLabelPosition::MiddleRight),
            (room(0.1), SeriesLabelPosition::LowerRight),
        ];
        let first = |best: (f64, _), other: (f64, _)| if other.0 > best.0 { other } else { best };
        let (_, place) = places
            .into_iter()
            .fold((f64::NEG_INFINITY, SeriesLabelPosition::UpperRight), first);
        place
    }
}

/// A claim as its words, with the whole numbers that stand between them.
struct Words {
    words: Vec<String>,
    numbers: Vec<u64>,
}

fn words(claim: &str) -> Words {
    let mut parts = Words {
        words: vec![String::new()],
        numbers: Vec::new(),
    };
    let mut run = String::new();
    for letter in claim.chars().chain([' ']) {
        if letter.is_ascii_digit() || letter == '.' {
            run.push(letter);
            continue;
        }
        // A decimal fraction, a full stop and too many digits to count are words like others.
        match run.parse::<u64>() {
            Ok(number) if number.to_string() == run => {
                parts.numbers.push(number);
                parts.words.push(letter.to_string());
            }
            _ => {
                let end = [run.as_str(), letter.encode_utf8(&mut [0; 4])].concat();
                parts
                    .words
                    .iter_mut()
                    .last()
                    .into_iter()
                    .for_each(|w| w.push_str(&end));
            }
        }
        run.clear();
    }
    parts
}

/// Claims of the same words as one, `I ≤ D_2…64`.
fn caption<'a>(claims: impl Iterator<Item = &'a str>) -> String {
    let parts: Vec<Words> = claims.map(words).collect();
    let Some(first) = parts.first() else {
        return String::new();
    };
    let range = |i: usize| {
        let numbers = || parts.iter().filter_map(|p| p.numbers.get(i).copied());
        match (numbers().min(), numbers().max()) {
            (Some(low), Some(high)) if low < high => format!("{low}…{high}"),
            (Some(number), _) => number.to_string(),
            _ => String::new(),
        }
    };
    let joined = first.words.iter().enumerate();
    let joined = joined.map(|(i, word)| word.clone() + &range(i));
    joined.collect::<String>().trim_end().to_owned()
}

/// Least and greatest.
fn extremes(values: impl Iterator<Item = f64>) -> (f64, f64) {
    values.fold((f64::INFINITY, f64::NEG_INFINITY), |(low, high), y| {
        (low.min(y), high.max(y))
    })
}

/// The picture, and in words what it shows.
pub fn svg(chosen: &Chosen) -> Result<(String, String)> {
    let Some((over, swept)) = chosen.sweep(POINTS)? else {
        bail!("`{}` has no parameter to plot over", chosen.statement.id());
    };
    let panels = Curves::all(&swept);
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
                Scale::Log => panel(area, curves, over, (over.low..over.high).log_scale())?,
                Scale::Linear | Scale::Integer => panel(area, curves, over, over.low..over.high)?,
            }
        }
        root.present().map_err(drawing)?;
    }
    Ok((picture, format!("{count} claims over {}", over.name)))
}

fn panel<X>(
    area: &DrawingArea<SVGBackend<'_>, plotters::coord::Shift>,
    curves: &Curves,
    over: &Parameter,
    x: X,
) -> Result<()>
where
    X: AsRangedCoord<Value = f64>,
    X::CoordDescType: Ranged<ValueType = f64> + ValueFormatter<f64>,
{
    let (low, high) = curves.span();
    let whole = matches!(over.scale, Scale::Integer);
    let mut chart = ChartBuilder::on(area)
        .caption(&curves.claim, ("sans-serif", 16))
        .margin(10)
        // The last mark's own half.
        .margin_right(24)
        .x_label_area_size(40)
        .y_label_area_size(70)
        .build_cartesian_2d(x, low..high)
        .map_err(drawing)?;
    chart
        .configure_mesh()
        .x_desc(over.name)
        .x_label_formatter(&|x| {
            let between = whole && x.fract() != 0.0;
            if between { String::new() } else { short(*x) }
        })
        .y_label_formatter(&|y| label(*y, curves.powers, high - low))
        .bold_line_style(BLACK.mix(0.1))
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
        if whole {
            // There is nothing between whole numbers: the line only leads the eye.
            let dots = side
                .iter()
                .map(|point| Circle::new(*point, width + 1, colour.filled()));
            chart.draw_series(dots).map_err(drawing)?;
        }
    }
    chart
        .configure_series_labels()
        .position(curves.free_place())
        .background_style(WHITE.mix(0.8))
        .draw()
        .map_err(drawing)
}

/// Of a mark on an axis of this length; with as many digits as tell it from its neighbours.
fn label(y: f64, power: bool, length: f64) -> String {
    if power {
        let between = (y - y.round()).abs() > 1e-9;
        return if between {
            String::new()
        } else {
            short(10_f64.powf(y.round()))
        };
    }
    if y.abs() < 1e-6 * length {
        return "0".to_owned();
    }
    let step = length / MARKS;
    if step > 0.01 * y.abs() {
        return short(y);
    }
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "from 0 to 17"
    )]
    let decimals = (1.0 - step.log10()).clamp(0.0, 17.0) as usize;
    format!("{y:.decimals$}")
}

fn drawing(error: impl std::fmt::Display) -> anyhow::Error {
    anyhow!("cannot draw: {error}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use sadm_theory::statements::{find, sweep, swept_by_default};

    #[test]
    fn marks_are_short_and_differ_from_their_neighbours() {
        for (y, power, length, text) in [
            (5.0, false, 45.0, "5"),
            (1e-17, false, 1.0, "0"),
            (1.0002, false, 0.001, "1.00020"),
            (1.0003, false, 0.001, "1.00030"),
            (-0.15, false, 0.4, "-0.15"),
            (-4.0, true, 6.0, "1e-4"),
            (2.0, true, 6.0, "100"),
            (0.5, true, 6.0, ""),
        ] {
            assert_eq!(label(y, power, length), text, "{y}");
        }
    }

    #[test]
    fn the_legend_goes_where_no_curve_is() {
        let curves = |lhs: f64, rhs: f64| Curves {
            claim: String::new(),
            powers: false,
            lhs: vec![(0.0, 0.0), (1.0, lhs)],
            rhs: vec![(0.0, 1.0), (1.0, rhs)],
        };
        for (lhs, rhs, place) in [
            (0.0, 0.1, "UpperRight"),
            (1.0, 0.9, "LowerRight"),
            (0.0, 1.0, "MiddleRight"),
        ] {
            assert_eq!(format!("{:?}", curves(lhs, rhs).free_place()), place);
        }
        // Equal sides up to rounding are one line in the middle.
        let (low, high) = Curves {
            lhs: vec![(0.0, 8.0), (1.0, 8.0)],
            rhs: vec![(0.0, 8.0 + 1e-12), (1.0, 8.0)],
            ..curves(0.0, 0.0)
        }
        .span();
        assert!(low < 4.0 && high > 12.0, "{low} {high}");
    }

    #[test]
    fn claims_that_differ_in_numbers_are_one_with_their_range() {
        let caption = |claims: &[&str]| caption(claims.iter().copied());
        assert_eq!(caption(&["I ≤ D_8", "I ≤ D_2", "I ≤ D_64"]), "I ≤ D_2…64");
        for kept in ["0.999 w(γ), near 007.", "99999999999999999999999 ≤ 3."] {
            assert_eq!(caption(&[kept]), kept);
        }
        assert_eq!(caption(&[]), "");
    }

    /// The claim swaps its sides inside the range: each way is drawn where it is made, under its own words.
    #[test]
    fn a_claim_of_a_part_of_the_range_is_drawn_there() {
        let statement = find("coupling-entropy").expect("a statement");
        let over = statement.parameters().iter().find(|p| p.name == "rho");
        let over = over.expect("a parameter");
        let swept = sweep(statement.as_ref(), &statement.default_instance(), over, 41);
        let all = Curves::all(&swept.expect("evidence"));
        let of = |words: &str| {
            let mut found = all.iter().filter(|c| c.claim.contains(words));
            let curves = found.next().expect("a claim");
            curves
                .lhs
                .iter()
                .map(|(place, _)| *place)
                .collect::<Vec<_>>()
        };
        let (below, above) = (of(": below independent"), of("not below independent"));
        assert!(below.iter().any(|rho| *rho > 0.0) && above.iter().any(|rho| *rho < 0.0));
        assert!(above.iter().all(|rho| *rho <= 0.0), "{above:?}");
        assert_eq!(below.len() + above.len(), 41);
    }

    #[test]
    fn the_pieces_of_a_cover_are_captioned_with_their_range() {
        let statement = find("eq-14b-box").expect("a statement");
        let over = swept_by_default(statement.as_ref()).expect("a parameter");
        let swept = sweep(statement.as_ref(), &statement.default_instance(), over, 5);
        let swept = swept.expect("evidence");
        let pieces = |k: usize| {
            let of = |e: &[Evidence]| words(&e[k].claim).numbers.last().copied();
            let all: Vec<_> = swept.iter().filter_map(|(_, e)| of(e)).collect();
            (all.iter().min().copied(), all.iter().max().copied())
        };
        let (Some(low), Some(high)) = pieces(0) else {
            panic!("no pieces");
        };
        assert!(high > low, "the same number everywhere shows nothing");
        let first = &Curves::all(&swept)[0];
        let ending = format!("on {low}…{high} pieces");
        assert!(first.claim.ends_with(&ending), "{}", first.claim);
    }
}
