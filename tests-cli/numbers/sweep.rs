//! `sadm sweep`: every cell of both tables, computed again from the run's checkpoint, and the picture's curves.

use std::path::Path;

use ndarray::{Array2, ArrayD, Axis};
use serde_json::Value;

use crate::draws::order;
use crate::formulas::{close, frechet, line, mean};
use crate::runs::train;
use crate::support::{Folder, sadm};
use crate::tables::{markdown, shows};
use crate::walk::{Asked, SINGLE, Walk, exactly, spread, walk};
use crate::written::{Rounding, Written, chosen, digits, flat, json, number, size};

/// Curvature 1 − C/L and deviation |Δτ| Σ |Δx|²/|Δτ_k|/C² − 1 of each image's path.
fn bends(path: &[(f64, ArrayD<f64>)]) -> Vec<[f64; 2]> {
    let images = path[0].1.shape()[0];
    let of = |i: usize| {
        let point = |k: usize| path[k].1.index_axis(Axis(0), i).to_owned();
        let apart = |a: usize, b: usize| {
            let d = point(b) - point(a);
            (&d * &d).sum().sqrt()
        };
        let last = path.len() - 1;
        let chord = apart(0, last);
        let steps = (0..last).map(|k| (apart(k, k + 1), (path[k].0 - path[k + 1].0).abs()));
        let (mut arc, mut energy) = (0.0, 0.0);
        for (length, duration) in steps {
            arc += length;
            energy += length * length / duration;
        }
        let whole = (path[0].0 - path[last].0).abs();
        [1.0 - chord / arc, whole * energy / (chord * chord) - 1.0]
    };
    (0..images).map(of).collect()
}

struct Swept<'a> {
    written: &'a Written,
    labels: Vec<Option<u32>>,
    seed: u64,
    real: ArrayD<f64>,
    /// The solution that distances are measured from, and how far rounding may move it.
    fine: (ArrayD<f64>, f64),
}

impl Swept<'_> {
    fn walk(&self, sampler: &'static str, steps: usize, round: Rounding) -> Walk {
        let asked = Asked {
            sampler,
            steps,
            ..Asked::of(self.written, self.labels.clone(), self.seed)
        };
        walk(self.written, &asked, round)
    }

    fn with_fine(mut self, steps: usize) -> Self {
        let images = |round: Rounding<'_>| self.walk("heun", steps, round).images;
        let (_, moved) = spread(|round| images(round).into_raw_vec_and_offset().0);
        self.fine = (images(&exactly), moved);
        self
    }

    /// fd-encoder, fd-pixels, distance, curvature and deviation.
    fn measured(&self, sampler: &'static str, steps: usize, round: Rounding) -> Vec<f64> {
        let psi = self.written.encoder();
        let walked = self.walk(sampler, steps, round);
        let distance = |a: &Array2<f64>, b: &Array2<f64>| frechet(a, b, 1.0).iter().sum::<f64>();
        let encoder = distance(
            &psi.features(&walked.images, round),
            &psi.features(&self.real, round),
        );
        let pixels = distance(&flat(&walked.images), &flat(&self.real));
        let apart = &walked.images - &self.fine.0;
        let bends: Vec<[f64; 2]> = walked.paths.iter().flat_map(|path| bends(path)).collect();
        let of = |k: usize| mean(&bends.iter().map(|both| both[k]).collect::<Vec<_>>());
        vec![
            encoder,
            pixels,
            (&apart * &apart).mean().expect("pixels").sqrt(),
            of(0),
            of(1),
        ]
    }
}

const KEYS: [&str; 5] = [
    "fd_encoder",
    "fd_pixels",
    "distance",
    "curvature",
    "deviation",
];
const HEADS: [&str; 5] = [
    "fd-encoder",
    "fd-pixels",
    "distance to fine",
    "curvature",
    "deviation V",
];

fn sweep(run: &Path, out: &Path, more: &[&str]) -> (Value, String) {
    let mut command = sadm();
    command
        .args(["sweep", "sampler", "--threads=1", "--run"])
        .arg(run);
    command.arg("--out").arg(out).args(more).assert().success();
    let text = std::fs::read_to_string(out.join("sweep.md")).expect("a table");
    (json(&out.join("sweep.json")), text)
}

const SAMPLERS: [&str; 4] = ["heun", "ddim", "ddpm", "dpmpp-2m"];

#[test]
fn every_cell_of_a_sweep_is_its_samplers() {
    let folder = Folder::new();
    let (run, out) = (folder.path("run"), folder.path("sweep"));
    train(&run, 12, &["--set=data.limit=0"]);
    let written = Written::newest(&run);
    let more = [
        "--samplers=heun,ddim,ddpm,dpmpp-2m",
        "--nfe=3,5,8",
        "--count=12",
        "--seed=4",
    ];
    let few = ["--reference-count=20", "--fine=6"];
    let (report, text) = sweep(&run, &out, &[&more[..], &few].concat());
    let (images, labels) = digits();
    // The choice of real images knows nothing of a run.
    let reality = order(0x5ad0_0001, "reality", 0, labels.len());
    let swept = Swept {
        written: &written,
        labels: (0..12_u32).map(|i| Some(10 * i / 12)).collect(),
        seed: 4,
        real: chosen(&images, &reality[..20]),
        fine: (ArrayD::zeros(vec![0]), 0.0),
    }
    .with_fine(6);
    let cells = report["cells"].as_array().expect("cells");
    let tables = markdown(&text);
    let table = &tables[0];
    assert_eq!((cells.len(), table.rows.len()), (12, 13));
    let mut at = 0;
    for sampler in SAMPLERS {
        for nfe in [3, 5, 8] {
            let steps = if sampler == "heun" {
                usize::div_ceil(nfe, 2)
            } else {
                nfe
            };
            let cell = &cells[at];
            at += 1;
            assert_eq!(cell["sampler"], sampler);
            assert_eq!(size(&cell["steps"]), steps);
            let walked = swept.walk(sampler, steps, &exactly);
            assert_eq!(size(&cell["nfe"]), walked.evaluations, "{sampler}");
            holds(cell, &swept, (sampler, steps));
            for (head, key) in [("sampler", "sampler"), ("steps", "steps"), ("NFE", "nfe")] {
                let shown = cell[key].to_string();
                assert_eq!(table.cell(at, head), shown.trim_matches('"'));
            }
            for (head, key) in HEADS.iter().zip(KEYS) {
                match cell[key].as_f64() {
                    Some(value) => shows(head, table.cell(at, head), value),
                    None => assert_eq!(table.cell(at, head), "-"),
                }
            }
        }
    }
    holds(&report["fine"], &swept, ("heun", 6));
    assert_eq!(table.cell(0, "sampler"), "heun, the reference solution");
    let fine = &report["fine"];
    for (head, key) in [("steps", "steps"), ("NFE", "nfe")] {
        assert_eq!(table.cell(0, head), fine[key].to_string());
    }
    for (head, key) in HEADS.iter().zip(KEYS) {
        shows(head, table.cell(0, head), number(&fine[key]));
    }
    let said = format!(
        "{run} after 12 steps of training: 12 images of all classes in equal shares on the same noise (seed 4), guidance 1, against 20 real images; fd-encoder in Ψ of {run}.",
        run = run.display()
    );
    assert_eq!(text.lines().next(), Some(&said[..]));
    picture(
        &std::fs::read_to_string(out.join("sweep.svg")).expect("a picture"),
        cells,
    );

    // One class, against the real images of it.
    let fives: Vec<usize> = reality
        .into_iter()
        .filter(|row| labels[*row] == 5)
        .take(20)
        .collect();
    let swept = Swept {
        labels: vec![Some(5); 12],
        seed: 0,
        real: chosen(&images, &fives),
        ..swept
    }
    .with_fine(6);
    let more = ["--class=5", "--samplers=ddim", "--nfe=2", "--count=12"];
    let (report, _) = sweep(&run, &folder.path("five"), &[&more[..], &few].concat());
    holds(&report["cells"][0], &swept, ("ddim", 2));
}

/// A cell against what its sampler does.
#[track_caller]
fn holds(cell: &Value, swept: &Swept<'_>, (sampler, steps): (&'static str, usize)) {
    let (want, allowed) = spread_of(swept, sampler, steps);
    for ((key, want), allowed) in KEYS.iter().zip(want).zip(allowed) {
        if *key == "distance" && sampler == "ddpm" {
            assert!(cell[key].is_null());
            continue;
        }
        let got = number(&cell[key]);
        assert!(
            (got - want).abs() <= allowed && allowed < 1e-2 * want.abs().max(0.1),
            "{sampler} {steps}, {key}: {got}, not {want} ± {allowed:e}"
        );
    }
}

/// Each quantity with an allowance of its own.
fn spread_of(swept: &Swept<'_>, sampler: &'static str, steps: usize) -> (Vec<f64>, Vec<f64>) {
    let all = std::cell::RefCell::new(Vec::new());
    let (want, _) = spread(|round| {
        let found = swept.measured(sampler, steps, round);
        all.borrow_mut().push(found.clone());
        found
    });
    let all = all.into_inner();
    let farthest = |k: usize| {
        all.iter()
            .map(|found| (found[k] - want[k]).abs())
            .fold(0.0, f64::max)
    };
    let moved = |k: usize| match KEYS[k] {
        "distance" => swept.fine.1,
        // What a ratio of numbers of f32 differs from 1.
        "curvature" | "deviation" => SINGLE,
        _ => 0.0,
    };
    let allowed = (0..want.len())
        .map(|k| crate::walk::FACTOR * farthest(k) + moved(k))
        .collect();
    (want, allowed)
}

/// The colours of the samplers, in the order of the registry.
const COLOURS: [(&str, &str); 4] = [
    ("heun", "#0072B2"),
    ("ddim", "#009E73"),
    ("ddpm", "#CC79A7"),
    ("dpmpp-2m", "#56B4E9"),
];

/// Every curve lies where one pair of logarithmic axes a panel puts its numbers.
fn picture(svg: &str, cells: &[Value]) {
    let attribute = |text: &str, name: &str| {
        let (_, rest) = text
            .split_once(&format!("{name}=\""))
            .expect("an attribute");
        rest.split('"').next().expect("a value").to_owned()
    };
    let mut drawn: Vec<(String, Vec<(f64, f64)>)> = Vec::new();
    for element in svg.split('<').filter(|e| e.starts_with("polyline")) {
        let points = attribute(element, "points");
        let points: Vec<(f64, f64)> = points
            .split_whitespace()
            .map(|pair| {
                let (x, y) = pair.split_once(',').expect("two numbers");
                (x.parse().expect("a number"), y.parse().expect("a number"))
            })
            .collect();
        // Those of two points are the legend's and the axes'.
        if points.len() == 3 {
            drawn.push((attribute(element, "stroke").to_uppercase(), points));
        }
    }
    assert_eq!(drawn.len(), 4 + 4 + 3 + 4);
    for (panel, key) in ["fd_encoder", "fd_pixels", "distance", "curvature"]
        .iter()
        .enumerate()
    {
        let (top, bottom) = (300.0 * panel as f64, 300.0 * (panel + 1) as f64);
        let (mut x, mut y, mut left, mut up) = (vec![], vec![], vec![], vec![]);
        for (sampler, colour) in COLOURS {
            let own: Vec<&Value> = cells.iter().filter(|c| c["sampler"] == sampler).collect();
            let curve = drawn.iter().find(|(stroke, points)| {
                *stroke == colour.to_uppercase() && (top..bottom).contains(&points[0].1)
            });
            if own[0][key].is_null() {
                assert!(curve.is_none());
                continue;
            }
            let (_, points) = curve.unwrap_or_else(|| panic!("no curve {sampler} of {key}"));
            for (cell, (a, b)) in own.iter().zip(points) {
                x.push(number(&cell["nfe"]).ln());
                y.push(number(&cell[key]).ln());
                left.push(*a);
                up.push(*b);
            }
        }
        for (of, at, rises) in [(&x, &left, true), (&y, &up, false)] {
            let (start, slope) = line(of, at);
            assert_eq!(slope > 0.0, rises);
            for (value, at) in of.iter().zip(at) {
                assert!(
                    (start + slope * value - at).abs() < 1.5,
                    "{key}: {value} at {at}"
                );
            }
        }
    }
}

/// In f64, where rounding is no excuse: each error, the line through those that are clear, and its interval.
#[test]
fn orders_are_slopes_of_the_errors_they_show() {
    let folder = Folder::new();
    let (run, out) = (folder.path("run"), folder.path("order"));
    train(&run, 12, &[]);
    let written = Written::newest(&run);
    let mut command = sadm();
    command.args([
        "sweep",
        "order",
        "--threads=1",
        "--count=2",
        "--steps=3,5,8",
        "--fine=120",
    ]);
    command
        .args(["--samplers=euler,heun,ddim,dpmpp-2m", "--run"])
        .arg(&run);
    command.arg("--out").arg(&out).assert().success();
    let report = json(&out.join("order.json"));
    let swept = Swept {
        written: &written,
        labels: vec![Some(0), Some(1)],
        seed: 0,
        real: ArrayD::zeros(vec![0]),
        fine: (ArrayD::zeros(vec![0]), 0.0),
    };
    let end = |sampler, steps| swept.walk(sampler, steps, &exactly).images;
    let rms = |a: &ArrayD<f64>, b: &ArrayD<f64>| {
        let apart = a - b;
        (&apart * &apart).mean().expect("pixels").sqrt()
    };
    let fine = end("heun", 120);
    let floor = rms(&fine, &end("heun", 60));
    close("floor", number(&report["fine_difference"]), floor, 1e-7);
    assert_eq!(size(&report["fine_steps"]), 120);
    let text = std::fs::read_to_string(out.join("order.md")).expect("a table");
    let table = &markdown(&text)[0];
    let mut fitted = 0;
    for (at, (sampler, claimed)) in [
        ("euler", 1.0),
        ("heun", 2.0),
        ("ddim", 1.0),
        ("dpmpp-2m", 2.0),
    ]
    .into_iter()
    .enumerate()
    {
        let found = &report["samplers"][at];
        assert_eq!(found["sampler"], sampler);
        close(sampler, number(&found["claimed"]), claimed, 0.0);
        assert_eq!(
            (table.cell(at, "sampler"), table.cell(at, "claimed")),
            (sampler, &*claimed.to_string())
        );
        let (mut x, mut y) = (Vec::new(), Vec::new());
        for (k, steps) in [3, 5, 8].into_iter().enumerate() {
            let point = &found["points"][k];
            let error = rms(&end(sampler, steps), &fine);
            assert_eq!(size(&point["steps"]), steps);
            close(sampler, number(&point["error"]), error, 1e-8);
            let clear = error > 20.0 * floor;
            assert_eq!(point["in_fit"], clear);
            let cell = table.cell(at, &format!("error, N = {steps}"));
            assert_eq!(cell.ends_with(" *"), !clear);
            shows(sampler, cell.trim_end_matches(" *"), error);
            if clear {
                x.push((steps as f64).ln());
                y.push(error.ln());
            }
        }
        let shown = table.cell(at, "measured (95 % interval)");
        if x.len() < 3 {
            assert!(found["order"].is_null());
            assert_eq!(shown, "too few clear points");
            continue;
        }
        fitted += 1;
        let (start, slope) = line(&x, &y);
        close(sampler, number(&found["order"]), -slope, 1e-7);
        let left: f64 = x
            .iter()
            .zip(&y)
            .map(|(x, y)| (y - start - slope * x).powi(2))
            .sum();
        let along: f64 = x.iter().map(|v| (v - mean(&x)).powi(2)).sum();
        // Student's quantile of one degree of freedom.
        let half = 12.706_204_736_432_095 * (left / along).sqrt();
        close(sampler, number(&found["half_width"]), half, 1e-6);
        let (order, half_width) = shown.split_once(" ± ").expect("an interval");
        shows(sampler, order, -slope);
        shows(sampler, half_width, half);
    }
    assert!(fitted > 0, "no order is fitted: {report}");
}
