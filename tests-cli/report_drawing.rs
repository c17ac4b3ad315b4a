//! What `sadm report` draws, read back off the page: every curve from its places and marks, every heat map from its colours.

use std::collections::BTreeMap;
use std::path::Path;

use scraper::{ElementRef, Html, Selector};
use serde_json::Value;

use crate::report::{report, trained};
use crate::support::Folder;

fn all<'a>(inside: ElementRef<'a>, selector: &str) -> Vec<ElementRef<'a>> {
    let selector = Selector::parse(selector).expect("a selector");
    inside.select(&selector).collect()
}

fn text(element: ElementRef) -> String {
    element.text().collect()
}

fn attribute(element: ElementRef, name: &str) -> String {
    let value = element.value().attr(name);
    value.unwrap_or_else(|| panic!("no {name}")).to_owned()
}

fn number(element: ElementRef, name: &str) -> f64 {
    attribute(element, name).parse().expect("a number")
}

/// `a,b c,d …`.
fn pairs(text: &str) -> Vec<(f64, f64)> {
    let pair = |pair: &str| {
        let (a, b) = pair.split_once(',').expect("two numbers");
        (a.parse().expect("a number"), b.parse().expect("a number"))
    };
    text.split(' ').map(pair).collect()
}

/// The number of a mark, such as `2e-4` or `20k`.
fn mark(text: &str) -> f64 {
    match text.strip_suffix('k') {
        Some(thousands) => 1e3 * thousands.parse::<f64>().expect("a number"),
        None => text.parse().expect("a number"),
    }
}

/// Where values of an axis lie, from its marks: on a line in the values or in their logarithms.
fn scale(marks: &[(f64, f64)], logarithmic: bool) -> impl Fn(f64) -> f64 {
    let of = move |value: f64| if logarithmic { value.ln() } else { value };
    let (first, last) = (marks[0], marks[marks.len() - 1]);
    let slope = (last.1 - first.1) / (of(last.0) - of(first.0));
    for (value, place) in marks {
        let want = first.1 + slope * (of(*value) - of(first.0));
        assert!(
            (want - place).abs() < 0.6,
            "a mark is out of line: {marks:?}"
        );
    }
    move |value| first.1 + slope * (of(value) - of(first.0))
}

/// The marks of a chart: of the vertical axis, or of the horizontal one.
fn marks(chart: ElementRef, vertical: bool) -> Vec<(f64, f64)> {
    let anchor = if vertical { "end" } else { "middle" };
    let texts = all(chart, &format!("svg text[text-anchor={anchor}]"));
    let plain = texts
        .into_iter()
        .filter(|t| t.value().attr("class").is_none());
    let marks = plain.filter_map(|t| {
        let place = if vertical {
            number(t, "y") - 4.5
        } else {
            number(t, "x")
        };
        // The name of the horizontal axis is no number.
        text(t)
            .starts_with(|c: char| c.is_ascii_digit() || c == '-')
            .then(|| (mark(&text(t)), place))
    });
    marks.collect()
}

/// Checks that every curve of a chart lies where its marks say; its curves' points by name.
fn curves(chart: ElementRef) -> BTreeMap<String, Vec<(f64, f64)>> {
    let title = text(all(chart, "figcaption b")[0]);
    let logarithmic = text(all(chart, "figcaption")[0]).contains(", logarithmic");
    let (across, up) = (marks(chart, false), marks(chart, true));
    assert!(across.len() > 1 && up.len() > 1, "{title}: no two marks");
    let (x, y) = (scale(&across, false), scale(&up, logarithmic));
    let mut found = BTreeMap::new();
    for series in all(chart, ".series") {
        let points = pairs(&attribute(series, "data-points"));
        let lines = all(series, "polyline");
        let raw = lines
            .iter()
            .find(|line| line.value().attr("class") == Some("raw"));
        let drawn = pairs(&attribute(*raw.unwrap_or(&lines[0]), "points"));
        assert_eq!(drawn.len(), points.len(), "{title}");
        for ((a, b), (left, top)) in points.iter().zip(drawn) {
            let apart = [x(*a) - left, y(*b) - top];
            assert!(
                apart.iter().all(|d| d.abs() < 1.0),
                "{title}: ({a}, {b}) is drawn {apart:?} away from its place"
            );
        }
        found.insert(attribute(series, "data-name"), points);
    }
    found
}

/// The numbers of a run's log under a key, in the phases that `of` chooses.
fn logged(run: &Path, key: &str, of: impl Fn(&str) -> bool) -> Vec<(f64, f64)> {
    let log = std::fs::read_to_string(run.join("metrics.jsonl")).expect("metrics");
    let lines = log
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).expect("JSON"));
    lines
        .filter(|line| of(line["phase"].as_str().expect("a phase")))
        .filter_map(|line| Some((line["step"].as_f64()?, line[key].as_f64()?)))
        .collect()
}

/// As many points, each to the digits that the page keeps.
fn same(what: &str, got: &[(f64, f64)], want: &[(f64, f64)]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (got, want) in got.iter().zip(want) {
        let near = |a: f64, b: f64, digits: f64| (a - b).abs() <= digits * b.abs();
        assert!(
            near(got.0, want.0, 1e-6) && near(got.1, want.1, 1e-4),
            "{what}: {got:?}, not {want:?}"
        );
    }
}

#[test]
fn every_curve_is_the_log_s_and_lies_where_its_axes_say() {
    let folder = Folder::new();
    let a = trained(&folder, "a", &[]);
    let b = trained(&folder, "b", &["--set=seed=1"]);
    let page = Html::parse_document(&report(&folder.path("report.html"), &[&a, &b]));
    let charts = all(page.root_element(), ".chart");
    let mut drawn: BTreeMap<String, _> = charts
        .iter()
        .map(|chart| (text(all(*chart, "figcaption b")[0]), curves(*chart)))
        .collect();
    assert_eq!(drawn.len(), charts.len(), "two charts of one name");
    let encoder = |phase: &str| phase == "encoder";
    let cases: [(&str, &str, &dyn Fn(&str) -> bool); 7] = [
        ("Denoising loss against steps", "loss", &|phase| {
            !encoder(phase)
        }),
        ("Cross-entropy of Ψ", "loss", &encoder),
        ("Structural loss S", "structure", &|_| true),
        ("Shadow check: error/bound", "shadow", &|_| true),
        ("Gradient norm", "grad_norm", &|_| true),
        ("Learning rate", "learning_rate", &|_| true),
        ("Images per second", "images_per_second", &|_| true),
    ];
    for (title, key, of) in cases {
        let curves = drawn
            .remove(title)
            .unwrap_or_else(|| panic!("no chart {title}"));
        assert_eq!(curves.len(), 2, "{title}: {:?}", curves.keys());
        for (name, run) in [("a", &a), ("b", &b)] {
            let want = logged(run, key, of);
            assert!(want.len() > 1, "{title}");
            same(&format!("{title}, {name}"), &curves[name], &want);
        }
    }
    let timed = drawn
        .remove("Denoising loss against time")
        .expect("a chart");
    let loss = logged(&a, "loss", |phase| !encoder(phase));
    assert_eq!(timed["a"].len(), loss.len());
    assert!(
        timed["a"].windows(2).all(|w| w[0].0 < w[1].0),
        "time goes on"
    );
    // Whatever else is logged has its chart, and nothing is drawn twice.
    for (title, curves) in drawn {
        for (name, run) in [("a", &a), ("b", &b)] {
            same(&title, &curves[name], &logged(run, &title, |_| true));
        }
    }
}

/// The share of the scale that a colour of a heat map stands for: the nearest of the 1001 on the way through its five.
fn share(colours: &BTreeMap<[u8; 3], f64>, fill: &str) -> f64 {
    let byte = |at: usize| u8::from_str_radix(&fill[at..at + 2], 16).expect("a colour");
    let colour = [byte(1), byte(3), byte(5)];
    let apart = |other: &[u8; 3]| -> u32 {
        let squares = colour
            .iter()
            .zip(other)
            .map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2));
        squares.sum()
    };
    let nearest = colours.iter().min_by_key(|(other, _)| apart(other));
    let (other, share) = nearest.expect("colours");
    assert!(apart(other) <= 12, "{fill} is on no scale");
    *share
}

fn viridis() -> BTreeMap<[u8; 3], f64> {
    const STOPS: [[f64; 3]; 5] = [
        [68.0, 1.0, 84.0],
        [59.0, 82.0, 139.0],
        [33.0, 145.0, 140.0],
        [94.0, 201.0, 98.0],
        [253.0, 231.0, 37.0],
    ];
    let colour = |k: u16| {
        let place = f64::from(k) / 250.0;
        let below = usize::from((k / 250).min(3));
        let weight = place - below as f64;
        #[expect(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            reason = "a byte"
        )]
        let mixed = |c: usize| {
            (STOPS[below][c] * (1.0 - weight) + STOPS[below + 1][c] * weight).round() as u8
        };
        ([mixed(0), mixed(1), mixed(2)], f64::from(k) / 1000.0)
    };
    (0..=1000).map(colour).collect()
}

/// A heat map read off its colours.
struct Read {
    name: String,
    caption: String,
    values: Vec<Vec<f64>>,
}

impl Read {
    fn of(figure: ElementRef, colours: &BTreeMap<[u8; 3], f64>, [low, high]: [f64; 2]) -> Self {
        let mut values = vec![vec![f64::NAN; 16]; 16];
        for rect in all(figure, "rect") {
            let at = |name: &str| attribute(rect, name).parse::<usize>().expect("a place") / 10;
            let value = low + (high - low) * share(colours, &attribute(rect, "fill"));
            values[at("y")][at("x")] = value;
        }
        Self {
            name: text(all(figure, "b")[0]),
            caption: text(all(figure, "figcaption")[0]),
            values,
        }
    }

    /// The number after some words of the caption.
    fn said(&self, words: &str) -> f64 {
        let (_, after) = self.caption.split_once(words).expect("the caption says it");
        let number: String = after
            .chars()
            .take_while(|c| c.is_ascii_digit() || "-.e".contains(*c))
            .collect();
        number
            .trim_end_matches(['m', 'c'])
            .parse()
            .expect("a number")
    }

    /// Pairs of entries above the diagonal of this map and another.
    fn pairs<'a>(&'a self, other: &'a Self) -> impl Iterator<Item = (f64, f64)> + 'a {
        (0..16).flat_map(move |i| (i + 1..16).map(move |j| (self.values[i][j], other.values[i][j])))
    }

    fn mean_difference(&self, other: &Self) -> f64 {
        self.pairs(other).map(|(a, b)| (a - b).abs()).sum::<f64>() / 120.0
    }

    fn correlation(&self, other: &Self) -> f64 {
        let mean = |of: fn((f64, f64)) -> f64| self.pairs(other).map(of).sum::<f64>() / 120.0;
        let (a, b) = (mean(|p| p.0), mean(|p| p.1));
        let sum = |of: &dyn Fn(f64, f64) -> f64| {
            self.pairs(other)
                .map(|(x, y)| of(x - a, y - b))
                .sum::<f64>()
        };
        sum(&|x, y| x * y) / (sum(&|x, _| x * x) * sum(&|_, y| y * y)).sqrt()
    }
}

/// The maps of every noise level, each on the scale that stands below them.
fn levels(page: &Html) -> Vec<Vec<Read>> {
    let colours = viridis();
    let root = page.root_element();
    let scales = all(root, "p").into_iter().filter_map(|p| {
        let said = text(p);
        let rest = said.strip_prefix("Colours from ")?;
        let (low, rest) = rest.split_once(" (dark) to ")?;
        let (high, _) = rest.split_once(" (bright)")?;
        Some([mark(low), mark(high)])
    });
    let maps = all(root, ".heat");
    let levels: Vec<_> = maps.chunks(5).zip(scales).collect();
    assert_eq!((maps.len(), levels.len()), (10, 2));
    let read = |(maps, scale): (&[ElementRef], _)| {
        let scale_of = |at: usize| if at == 0 { [0.0, 1.0] } else { scale };
        let each = maps.iter().enumerate();
        each.map(|(at, map)| Read::of(*map, &colours, scale_of(at)))
            .collect()
    };
    levels.into_iter().map(read).collect()
}

/// Each map is what its caption says it is: labels by their blocks, the others by the two numbers under them, recomputed from
/// the colours. And the base of two runs that part after it is one, while what follows is not.
#[test]
fn every_heat_map_shows_what_stands_below_it() {
    let folder = Folder::new();
    let (a, b) = (
        trained(&folder, "a", &[]),
        trained(&folder, "b", &["--set=structure.weight=3000"]),
    );
    let read = |run: &Path| {
        levels(&Html::parse_document(&report(
            &folder.path("r.html"),
            &[run],
        )))
    };
    let (own, other) = (read(&a), read(&b));
    for level in own.iter().chain(&other) {
        let [labels, real, players @ ..] = level.as_slice() else {
            panic!("five maps");
        };
        for (i, row) in labels.values.iter().enumerate() {
            for (j, value) in row.iter().enumerate() {
                let same = f64::from(u8::from(i / 4 == j / 4));
                assert!(
                    (value - same).abs() < 2e-3,
                    "{} at ({i}, {j}): {value}",
                    labels.name
                );
            }
        }
        let mut least = f64::INFINITY;
        let mut greatest = f64::NEG_INFINITY;
        for map in &level[1..] {
            let correlation = map.correlation(labels);
            let said = map.said("correlation with labels ");
            assert!(
                (correlation - said).abs() < 0.01,
                "{}: {correlation}, not {said}",
                map.name
            );
            for (value, _) in map.pairs(labels) {
                (least, greatest) = (least.min(value), greatest.max(value));
            }
            for i in 0..16 {
                for j in 0..i {
                    assert!(
                        (map.values[i][j] - map.values[j][i]).abs() < 0.02,
                        "{}",
                        map.name
                    );
                }
            }
        }
        for map in players {
            let (apart, said) = (map.mean_difference(real), map.said("Areal| "));
            assert!(
                (apart - said).abs() < 0.02 * said + 0.002,
                "{}: {apart}, not {said}",
                map.name
            );
        }
        assert!(
            players
                .iter()
                .any(|map| map.mean_difference(&players[0]) > 1e-3)
        );
        assert!(least < greatest);
    }
    for (own, other) in own.iter().zip(&other) {
        let captions = |at: usize| (own[at].caption.as_str(), other[at].caption.as_str());
        for at in 0..3 {
            assert_eq!(captions(at).0, captions(at).1);
        }
        for at in 3..5 {
            assert_ne!(captions(at).0, captions(at).1, "structure does nothing");
        }
    }
}
