//! `sadm evaluate` on files: every metric, interval, convention and cell of the table.

use std::collections::BTreeMap;
use std::io::Read;

use ndarray::{Array2, ArrayD};
use npyz::NpyFile;
use serde_json::Value;
use zip::ZipArchive;

use crate::draws::{order, resample};
use crate::formulas::{
    balls, basic, close, deviation, distances, frechet, inception, kid, kid_error, line, mean,
    moments, normal, percentiles, quantile, rows, share, splits,
};
use crate::support::{Folder, answered, metric, sadm, write, write_f64};
use crate::written::{number, size};

/// Numbers that nothing drew: the fractional parts of multiples of roots, in [−1, 1).
pub fn points(rows: usize, columns: usize, salt: f64) -> Array2<f64> {
    Array2::from_shape_fn((rows, columns), |(i, j)| {
        let turn = (i as f64 + 1.0) * (j as f64 + 2.0 + salt).sqrt() * std::f64::consts::E;
        let bent = (turn.fract() - 0.5) * 2.0;
        bent * bent * bent + 0.25 * (turn * 7.0).fract()
    })
}

/// What a line must say: value, interval, convention, and the numbers beside it.
pub struct Want {
    pub value: f64,
    pub interval: Option<[f64; 2]>,
    pub convention: String,
    pub parts: BTreeMap<&'static str, f64>,
}

impl Want {
    pub fn new(value: f64, interval: Option<[f64; 2]>, convention: &str) -> Self {
        Self {
            value,
            interval,
            convention: convention.to_owned(),
            parts: BTreeMap::new(),
        }
    }

    pub fn with(mut self, name: &'static str, value: f64) -> Self {
        self.parts.insert(name, value);
        self
    }
}

/// Whether a cell shows six digits of a number.
#[track_caller]
fn six(what: &str, cell: &str, value: f64) {
    let shown: f64 = cell.parse().unwrap_or_else(|_| panic!("{what}: `{cell}`"));
    close(what, shown, value, 5.1e-6);
}

/// Holds a line of an answer, and its row of the table, against what it must say, to `relative`.
#[track_caller]
pub fn holds(answer: &Value, table: &str, name: &str, want: &Want, relative: f64) {
    let found = metric(answer, name);
    close(name, number(&found["value"]), want.value, relative);
    assert_eq!(found["convention"], *want.convention, "{name}");
    let ends = found["interval"].as_array();
    let ends = ends.map(|ends| [number(&ends[0]), number(&ends[1])]);
    assert_eq!(ends.is_some(), want.interval.is_some(), "{name}: {found}");
    for (got, want) in ends.iter().flatten().zip(want.interval.iter().flatten()) {
        // An end near zero is a difference of what is not.
        let scale = found["value"].as_f64().expect("a number").abs();
        let allowed = relative * want.abs().max(scale);
        assert!(
            (got - want).abs() <= allowed,
            "{name}: {ends:?}, not {want}"
        );
    }
    let none = serde_json::Map::new();
    let parts = found["parts"].as_object().unwrap_or(&none);
    assert_eq!(
        parts.keys().map(String::as_str).collect::<Vec<_>>(),
        want.parts.keys().copied().collect::<Vec<_>>(),
        "{name}"
    );
    for (part, value) in &want.parts {
        close(
            &format!("{name}, {part}"),
            number(&parts[*part]),
            *value,
            relative,
        );
    }
    // The row: name, value, interval, convention, parts, each after two spaces at least.
    let row = table
        .lines()
        .find(|row| row.split(' ').next() == Some(name));
    let row = row.unwrap_or_else(|| panic!("no row {name} in {table}"));
    let mut cells = row[name.len()..].trim_start().splitn(2, "  ");
    six(
        name,
        cells.next().expect("a value"),
        number(&found["value"]),
    );
    let rest = cells.next().expect("more").trim_start();
    let rest = match ends {
        None => rest.strip_prefix('–').expect("no interval"),
        Some(ends) => {
            let (inside, rest) = rest
                .strip_prefix('[')
                .and_then(|rest| rest.split_once(']'))
                .expect("an interval");
            for (cell, end) in inside.split(", ").zip(ends) {
                six(name, cell, end);
            }
            rest
        }
    };
    let said = rest.trim_start();
    let said = said.strip_prefix(&want.convention);
    let mut said = said.unwrap_or_else(|| panic!("{name}: {rest}, not {}", want.convention));
    for (part, value) in parts {
        let after = said.strip_prefix(&format!("; {part} ")).expect("a part");
        let end = after.find("; ").unwrap_or(after.len());
        six(part, &after[..end], number(value));
        said = &after[end..];
    }
    assert!(said.is_empty(), "{name}: {said}");
}

/// Two sets of three features: generated ones, of which one lies beside a real one and one is real, and real ones.
struct Sets {
    folder: Folder,
    generated: Array2<f64>,
    real: Array2<f64>,
    held_out: Array2<f64>,
    /// Class probabilities of the generated ones.
    p: Array2<f64>,
}

impl Sets {
    fn new() -> Self {
        let folder = Folder::new();
        let real = points(29, 3, 0.0) * 1.5;
        let mut generated = points(37, 3, 0.5) + 0.8;
        generated.row_mut(4).assign(&(&real.row(7) + 1e-3));
        generated.row_mut(20).assign(&real.row(3));
        let held_out = points(11, 3, 0.7) * 1.25;
        let mut p = points(37, 4, 0.3).mapv(|x| (2.0 * x).exp());
        for mut row in p.rows_mut() {
            let sum = row.sum();
            row /= sum;
        }
        let save = |name: &str, tensors: &[(&str, ArrayD<f64>)]| {
            write_f64(&folder.path(name), tensors);
        };
        save(
            "a.safetensors",
            &[
                ("features", generated.clone().into_dyn()),
                ("probabilities", p.clone().into_dyn()),
            ],
        );
        save("b.safetensors", &[("features", real.clone().into_dyn())]);
        save(
            "c.safetensors",
            &[("features", held_out.clone().into_dyn())],
        );
        Self {
            folder,
            generated,
            real,
            held_out,
            p,
        }
    }

    fn evaluated(&self, more: &[&str]) -> (Value, String) {
        let path = |name: &str| self.folder.path(name).display().to_string();
        let mut command = sadm();
        command.args(["evaluate", "--features=given", "--name=toy", "--generated"]);
        command
            .arg(path("a.safetensors"))
            .arg("--reference")
            .arg(path("b.safetensors"));
        answered(&self.folder, command.args(more))
    }
}

const SEED: u64 = 7;
const RESAMPLES: u64 = 30;
/// Sums of a few thousand products of numbers of ordinary size; the covariances of the formula have half the digits of their roots.
const DIGITS: f64 = 1e-9;

fn of_both(sets: &Sets, less: f64) -> Want {
    let [mean_term, trace_term] = frechet(&sets.generated, &sets.real, less);
    let value = mean_term + trace_term;
    let replicates: Vec<f64> = (0..RESAMPLES)
        .map(|r| {
            let own = resample(SEED, "generated", r, 37);
            let theirs = resample(SEED, "reference", r, 29);
            let parts = frechet(
                &rows(&sets.generated, &own),
                &rows(&sets.real, &theirs),
                less,
            );
            parts[0] + parts[1]
        })
        .collect();
    let over = if less > 0.0 {
        "covariance over N−1"
    } else {
        "covariance over N"
    };
    let interval = basic(value, &replicates).map(|end| end.max(0.0));
    Want::new(value, Some(interval), over)
        .with("mean_term", mean_term)
        .with("trace_term", trace_term)
}

#[test]
fn frechet_distances_resample_both_sets() {
    let sets = Sets::new();
    let more = ["--seed=7", "--resamples=30", "--metrics=fd,kid"];
    let (answer, table) = sets.evaluated(&more);
    holds(&answer, &table, "fd-toy", &of_both(&sets, 1.0), DIGITS);
    let value = kid(&sets.generated, &sets.real);
    let error = kid_error(&sets.generated, &sets.real);
    let want = Want::new(
        value,
        Some(normal(value, error)),
        "one block of all samples; jackknife",
    );
    holds(&answer, &table, "kid-toy", &want, DIGITS);
    assert_eq!(number(&answer["level"]).to_bits(), 0.95_f64.to_bits());
    assert_eq!(
        [
            size(&answer["dimension"]),
            size(&answer["generated"]["samples"])
        ],
        [3, 37]
    );
    assert_eq!(size(&answer["reference"]["samples"]), 29);
    for part in [
        "toy (3 of them)",
        "37 samples of ",
        "29 samples of ",
        "95 % interval",
    ] {
        assert!(table.contains(part), "{part}: {table}");
    }
    let (answer, table) = sets.evaluated(&[&more[..], &["--covariance=n"]].concat());
    holds(&answer, &table, "fd-toy", &of_both(&sets, 0.0), DIGITS);
    // Without resamples, or with one, there is no interval.
    for few in ["--resamples=0", "--resamples=1"] {
        let (answer, table) = sets.evaluated(&["--metrics=fd", few]);
        let want = Want {
            interval: None,
            ..of_both(&sets, 1.0)
        };
        holds(&answer, &table, "fd-toy", &want, DIGITS);
    }
}

/// Means and covariances go through a file: what is saved, and what a stored reference leaves to resample.
#[test]
fn stored_moments_are_those_of_the_samples() {
    let sets = Sets::new();
    for (divisor, less) in [("n-1", 1.0), ("n", 0.0)] {
        let path = sets.folder.path("m.npz");
        let mut command = sadm();
        command.args([
            "evaluate",
            "--features=given",
            "--covariance",
            divisor,
            "--generated",
        ]);
        command.arg(sets.folder.path("b.safetensors"));
        command
            .arg("--save-statistics")
            .arg(&path)
            .assert()
            .success();
        let mut archive =
            ZipArchive::new(std::fs::File::open(&path).expect("a file")).expect("zip");
        let mut read = |name: &str| -> Vec<f64> {
            let mut bytes = Vec::new();
            let mut entry = archive.by_name(name).expect("an array");
            entry.read_to_end(&mut bytes).expect("readable");
            NpyFile::new(&bytes[..])
                .and_then(NpyFile::into_vec)
                .expect("f64")
        };
        let (mu, sigma) = moments(&sets.real, less);
        for (got, want) in read("mu.npy").iter().zip(&mu) {
            close("mu", *got, *want, 1e-12);
        }
        for (got, want) in read("sigma.npy").iter().zip(&sigma) {
            assert!((got - want).abs() < 1e-13, "{got} {want}");
        }
        let mut command = sadm();
        command.args([
            "evaluate",
            "--features=given",
            "--metrics=fd",
            "--seed=7",
            "--resamples=9",
        ]);
        command
            .arg("--generated")
            .arg(sets.folder.path("a.safetensors"));
        command.arg("--reference").arg(&path);
        let (answer, table) = answered(&sets.folder, &mut command);
        // The stored covariance as it is, that of generated samples over N − 1.
        let of = |own: &Array2<f64>| {
            let side = |(mean, covariance)| sadm_reference::metrics::Moments { mean, covariance };
            let (own, real) = (side(moments(own, 1.0)), side((mu.clone(), sigma.clone())));
            sadm_reference::metrics::frechet_of_moments(&own, &real).expect("a distance")
        };
        let found = of(&sets.generated);
        let replicates: Vec<f64> = (0..9)
            .map(|r| of(&rows(&sets.generated, &resample(SEED, "generated", r, 37))).distance())
            .collect();
        let interval = basic(found.distance(), &replicates).map(|end| end.max(0.0));
        let said = "covariance over N−1 of generated, stored as it is of real";
        let want = Want::new(found.distance(), Some(interval), said)
            .with("mean_term", found.mean_term)
            .with("trace_term", found.trace_term);
        holds(&answer, &table, "fd-given", &want, DIGITS);
    }
}

/// The limit in 1/N: ten sizes, cyclic stretches of one order; its error from resamples of the generated set.
#[test]
fn the_limit_of_a_frechet_distance_is_a_line_s() {
    let sets = Sets::new();
    let more = ["--seed=7", "--resamples=30", "--metrics=fd-inf"];
    let (answer, table) = sets.evaluated(&more);
    let (n, least) = (37, 4);
    let limit = |of: &[usize]| {
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for k in 0..10 {
            let size = least + (n - least) * k / 9;
            let chosen: Vec<usize> = (0..size).map(|i| of[(k * n / 10 + i) % n]).collect();
            let own = rows(&sets.generated, &chosen);
            // A resample of few rows may lie in a plane, of which the covariance knows half the digits alone.
            let parts = sadm_reference::metrics::frechet(own.view(), sets.real.view());
            x.push(1.0 / size as f64);
            y.push(parts.expect("a distance").distance());
        }
        line(&x, &y)
    };
    let (value, slope) = limit(&order(SEED, "fd-inf", 0, n));
    let replicates: Vec<f64> = (0..RESAMPLES)
        .map(|r| limit(&resample(SEED, "fd-inf", r, n)).0)
        .collect();
    let interval = normal(value, deviation(&replicates, 1.0));
    let said = "line in 1/N through 10 sizes from 4; the reference, with the bias of its 29 samples, as it is";
    let want = Want::new(value, Some(interval), said).with("slope", slope);
    holds(&answer, &table, "fd-inf-toy", &want, DIGITS);
}

/// `numpy.random.RandomState(2020)` of NumPy 2.4.6, drawing `permutation(37)[:6]` and `permutation(29)[:6]` in turn.
const NUMPY_SUBSETS: [[[usize; 6]; 2]; 3] = [
    [[15, 26, 22, 21, 31, 13], [12, 11, 15, 24, 13, 5]],
    [[31, 27, 34, 8, 6, 4], [11, 28, 17, 5, 20, 25]],
    [[3, 19, 26, 5, 36, 21], [17, 28, 10, 1, 0, 4]],
];
/// Its first `permutation(37)`.
const NUMPY_ORDER: [usize; 37] = [
    15, 26, 22, 21, 31, 13, 23, 2, 17, 25, 1, 14, 20, 35, 4, 12, 36, 5, 6, 30, 18, 11, 19, 9, 10,
    28, 0, 16, 24, 7, 33, 29, 27, 34, 3, 8, 32,
];

#[test]
fn kernel_distances_of_subsets_are_of_the_subsets_that_are_said() {
    let sets = Sets::new();
    let base = [
        "--seed=7",
        "--metrics=kid",
        "--kid-subset-size=6",
        "--kid-subsets=3",
    ];
    let of = |subsets: &[[Vec<usize>; 2]], said: &str| {
        let values: Vec<f64> = subsets
            .iter()
            .map(|[a, b]| kid(&rows(&sets.generated, a), &rows(&sets.real, b)))
            .collect();
        Want::new(mean(&values), None, said).with("std", deviation(&values, 0.0))
    };
    let own: Vec<[Vec<usize>; 2]> = (0..3)
        .map(|r| {
            [("generated", 37), ("reference", 29)]
                .map(|(whose, n)| order(SEED, whose, r, n)[..6].to_vec())
        })
        .collect();
    let (answer, table) = sets.evaluated(&base);
    let want = of(&own, "mean of 3 subsets of 6, std over n");
    holds(&answer, &table, "kid-toy-subsets", &want, DIGITS);
    let numpy: Vec<[Vec<usize>; 2]> = NUMPY_SUBSETS
        .iter()
        .map(|pair| pair.map(|rows| rows.to_vec()))
        .collect();
    let (answer, table) = sets.evaluated(&[&base[..], &["--torch-fidelity-draws"]].concat());
    let want = of(
        &numpy,
        "mean of 3 subsets of 6 as torch-fidelity draws them, std over n",
    );
    holds(&answer, &table, "kid-toy-subsets", &want, DIGITS);
}

/// In each order the splits' scores, and resamples within each split.
#[test]
fn inception_scores_are_of_their_splits() {
    let sets = Sets::new();
    let consecutive: Vec<usize> = (0..37).collect();
    for (option, order, named) in [
        (
            "--splits=5",
            NUMPY_ORDER.to_vec(),
            "shuffled as torch-fidelity",
        ),
        ("--shuffle=4", order(4, "is", 0, 37), "shuffled with seed 4"),
        (
            "--split-order=consecutive",
            consecutive,
            "consecutive, as ADM",
        ),
    ] {
        let more = ["--metrics=is", "--seed=7", "--resamples=30"];
        let count = if option == "--splits=5" {
            &[][..]
        } else {
            &["--splits=5"]
        };
        let (answer, table) = sets.evaluated(&[&more[..], &[option], count].concat());
        let split = splits(37, 5);
        let placed = |split: &[Vec<usize>]| -> Vec<Vec<usize>> {
            (split.iter())
                .map(|rows| rows.iter().map(|row| order[*row]).collect())
                .collect()
        };
        let scores = inception(&sets.p, &placed(&split));
        let value = mean(&scores);
        let replicates: Vec<f64> = (0..RESAMPLES)
            .map(|r| {
                let drawn: Vec<Vec<usize>> = (split.iter().enumerate())
                    .map(|(s, rows)| {
                        let picked = resample(SEED, &format!("is-{s}"), r, rows.len());
                        picked.into_iter().map(|i| rows[i]).collect()
                    })
                    .collect();
                mean(&inception(&sets.p, &placed(&drawn)))
            })
            .collect();
        let interval = basic(value, &replicates).map(|end| end.clamp(1.0, 4.0));
        let said = format!("5 splits, {named}; std over n");
        let want = Want::new(value, Some(interval), &said).with("std", deviation(&scores, 0.0));
        holds(&answer, &table, "is-toy", &want, DIGITS);
    }
}

fn shares(
    real: &Array2<f64>,
    generated: &Array2<f64>,
    k: usize,
    rest: &str,
) -> [(&'static str, Want); 4] {
    let found = balls(real, generated, k);
    let said = |kind: &str| format!("k = {k}, {kind} balls{rest}; interval given the balls");
    let of = |flags: &[bool], kind: &str| {
        let (value, interval) = share(flags);
        Want::new(value, Some(interval), &said(kind))
    };
    let means: Vec<f64> = (0..RESAMPLES)
        .map(|r| {
            let picked = resample(SEED, "density", r, found.held.len());
            mean(&picked.iter().map(|i| found.held[*i]).collect::<Vec<_>>())
        })
        .collect();
    let density = Want::new(mean(&found.held), Some(percentiles(&means)), &said("open"));
    [
        ("precision-toy", of(&found.precise, "closed")),
        ("recall-toy", of(&found.recalled, "closed")),
        ("density-toy", density),
        ("coverage-toy", of(&found.covered, "open")),
    ]
}

/// Four numbers, four intervals of their own: of 37 generated or of 29 real samples.
#[test]
fn shares_have_intervals_of_their_own_sets() {
    let sets = Sets::new();
    let more = ["--metrics=pr,dc", "--seed=7", "--resamples=30"];
    let (answer, table) = sets.evaluated(&more);
    let wanted = shares(&sets.real, &sets.generated, 3, "");
    for (name, want) in &wanted {
        holds(&answer, &table, name, want, DIGITS);
    }
    let mut values: Vec<f64> = wanted.iter().map(|(_, want)| want.value).collect();
    values.sort_by(f64::total_cmp);
    assert!(
        values.windows(2).all(|pair| pair[1] - pair[0] > 1e-3),
        "nothing is told apart: {values:?}"
    );
    let (answer, table) = sets.evaluated(&[&more[..], &["-k5", "--half"]].concat());
    let narrow = |x: &Array2<f64>| x.mapv(|x| f64::from(half::f16::from_f64(x)));
    let rest = ", features rounded to f16";
    let wanted = shares(&narrow(&sets.real), &narrow(&sets.generated), 5, rest);
    for (name, want) in &wanted {
        holds(&answer, &table, name, want, DIGITS);
    }
    // Open balls hold no boundary: the generated sample that is a real one is in its own ball either way.
    let (answer, _) = sets.evaluated(&[&more[..], &["--open-balls"]].concat());
    let said = "k = 3, open balls; interval given the balls";
    assert_eq!(metric(&answer, "precision-toy")["convention"], said);
}

/// Copies, the distances to real samples, and the rank test against those of held-out ones.
#[test]
fn neighbours_are_the_nearest() {
    let sets = Sets::new();
    let held_out = sets.folder.path("c.safetensors").display().to_string();
    let (answer, table) = sets.evaluated(&["--metrics=nn", "--held-out", &held_out]);
    let two = |x: &Array2<f64>| -> Vec<[f64; 2]> {
        let all = distances(x, &sets.real);
        all.rows()
            .into_iter()
            .map(|row| {
                let mut sorted = row.mapv(f64::sqrt).to_vec();
                sorted.sort_by(f64::total_cmp);
                [sorted[0], sorted[1]]
            })
            .collect()
    };
    let found = two(&sets.generated);
    let copies: Vec<bool> = found
        .iter()
        .map(|[first, second]| 3.0 * first < *second)
        .collect();
    let (value, interval) = share(&copies);
    assert!(value > 0.0 && value < 1.0);
    let said = "share with nearest < 1/3 of second nearest";
    holds(
        &answer,
        &table,
        "nn-copies-toy",
        &Want::new(value, Some(interval), said),
        DIGITS,
    );
    let first: Vec<f64> = found.iter().map(|pair| pair[0]).collect();
    let said = "median distance to the nearest reference sample";
    let want = Want::new(quantile(&first, 0.5), None, said)
        .with("least", 0.0)
        .with("least_of_sample", 20.0)
        .with("least_at_reference", 3.0);
    holds(&answer, &table, "nn-distance-toy", &want, DIGITS);
    let control: Vec<f64> = two(&sets.held_out).iter().map(|pair| pair[0]).collect();
    let pairs = first
        .iter()
        .flat_map(|a| control.iter().map(move |b| (a, b)));
    let below = pairs
        .map(|(a, b)| if a < b { 1.0 } else { 0.0 })
        .sum::<f64>()
        / (37.0 * 11.0);
    let z = (below - 0.5) / ((37.0 + 11.0 + 1.0) / (12.0 * 37.0 * 11.0_f64)).sqrt();
    let said = "rank test against 11 held-out samples; above 3: copies";
    let want = Want::new(z, None, said).with("below", below);
    holds(&answer, &table, "nn-copying-z-toy", &want, DIGITS);
}

/// A part of the reference is the part that is said.
#[test]
fn a_part_of_the_reference_is_drawn_as_it_is_said() {
    let sets = Sets::new();
    let first: Vec<usize> = (0..12).collect();
    let mut drawn = order(SEED, "reference", 0, 29)[..12].to_vec();
    drawn.sort_unstable();
    for (by, rows_of, said) in [
        ("random", drawn, "drawn at random from 29, seed 7"),
        ("first", first, "the first of 29"),
    ] {
        let more = [
            "--metrics=kid",
            "--seed=7",
            "--reference-count=12",
            "--reference-by",
            by,
        ];
        let (answer, table) = sets.evaluated(&more);
        let part = rows(&sets.real, &rows_of);
        let value = kid(&sets.generated, &part);
        let interval = normal(value, kid_error(&sets.generated, &part));
        let want = Want::new(value, Some(interval), "one block of all samples; jackknife");
        holds(&answer, &table, "kid-toy", &want, DIGITS);
        assert_eq!(answer["reference"]["chosen"], said);
        assert_eq!(size(&answer["reference"]["samples"]), 12);
    }
}

/// Pixels are compared as bytes, or as they are: both sets, whatever kind of file they come in.
#[test]
fn pixels_are_rounded_in_both_sets_or_in_none() {
    let folder = Folder::new();
    let images = |count: usize, salt: f64| (points(count, 4, salt) * 0.7).into_dyn();
    let (ours, theirs) = (images(20, 0.1), images(15, 0.9));
    for (name, x) in [("a", &ours), ("b", &theirs)] {
        let x = x
            .to_shape(vec![x.shape()[0], 1, 2, 2])
            .expect("2 × 2")
            .into_owned();
        #[expect(clippy::cast_possible_truncation, reason = "f32 is the file's")]
        write(
            &folder.path(&format!("{name}.safetensors")),
            &[("images", x)],
            safetensors::Dtype::F32,
            |x| (x as f32).to_le_bytes().to_vec(),
        );
    }
    for (kind, round) in [("bytes", true), ("reals", false)] {
        let mut command = sadm();
        command.args(["evaluate", "--metrics=fd", "--resamples=0", "--as", kind]);
        command.arg("--generated").arg(folder.path("a.safetensors"));
        command.arg("--reference").arg(folder.path("b.safetensors"));
        let (answer, table) = answered(&folder, &mut command);
        let taken = |x: &ArrayD<f64>| {
            let x = x
                .clone()
                .into_dimensionality::<ndarray::Ix2>()
                .expect("rows");
            x.mapv(|x| {
                let x = crate::draws::rounded(x);
                if round {
                    ((x + 1.0) * 127.5).round() / 127.5 - 1.0
                } else {
                    x
                }
            })
        };
        let [mean_term, trace_term] = frechet(&taken(&ours), &taken(&theirs), 1.0);
        let said = format!("covariance over N−1; pixels as {kind}");
        let want = Want::new(mean_term + trace_term, None, &said)
            .with("mean_term", mean_term)
            .with("trace_term", trace_term);
        // Bytes as f32 are off by 2⁻²⁴.
        holds(&answer, &table, "fd-pixels", &want, 1e-6);
    }
}
